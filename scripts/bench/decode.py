"""Photographs to small squares: imclass against other JPEG decoders, images/s on all cores, side by side.

    python scripts/bench/decode.py [--images 200] [--size 224] [--rounds 5] [--output decode.json]

Each round decodes the same files, 1600x1200, once with each. All scale the shorter side to --size,
antialiased, and crop the centre. imclass checks each file as well, as training does. simplejpeg is compared
where it is installed; it and Pillow's draft decode at 1/2, 1/4 or 1/8, with sides of twice --size at least.
"""

import argparse
import importlib.util
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import functional as transforms

from imclass.data.folder.decode import decode_image, strict_images

torch.set_num_threads(1)  # threads decode side by side


def with_pillow(path: Path, size: int) -> object:
    with Image.open(path) as image:
        image.draft("RGB", (2 * size, 2 * size))
        return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC))


def with_torchvision(path: Path, size: int) -> object:
    image = decode_jpeg(torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8), ImageReadMode.RGB)
    return transforms.center_crop(transforms.resize(image, [size], antialias=True), [size])


def with_simplejpeg(path: Path, size: int) -> object:
    import simplejpeg

    pixels = simplejpeg.decode_jpeg(path.read_bytes(), min_height=2 * size, min_width=2 * size, min_factor=1)
    return np.asarray(ImageOps.fit(Image.fromarray(pixels), (size, size), Image.Resampling.BICUBIC))


DECODERS: dict[str, Callable[[Path, int], object]] = {
    "imclass": lambda path, size: decode_image(path, size, channels=3),
    "Pillow with draft": with_pillow,
    "torchvision": with_torchvision,
    "simplejpeg": with_simplejpeg,
}


def photographs(folder: Path, count: int) -> list[Path]:
    """Write JPEGs with the detail of photographs: noise of all scales."""
    rng, files = np.random.default_rng(0), []
    for number in range(min(count, 16)):
        pixels = np.zeros((1200, 1600, 3), np.float32)
        for scale in (1, 4, 16, 64):
            noise = rng.integers(0, 256, (1200 // scale, 1600 // scale, 3), np.uint8)
            pixels += np.asarray(Image.fromarray(noise).resize((1600, 1200))) * scale**0.5
        pixels *= 255 / pixels.max()
        files.append(folder / f"{number}.jpg")
        Image.fromarray(pixels.astype(np.uint8)).save(files[-1], quality=90)
    return [files[number % len(files)] for number in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("decode.json"))
    options = parser.parse_args()
    names = [name for name in DECODERS if name != "simplejpeg" or importlib.util.find_spec("simplejpeg")]
    rates: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder, strict_images(), ThreadPoolExecutor(os.cpu_count()) as pool:
        files = photographs(Path(folder), options.images)
        for _ in range(options.rounds):
            for name, found in rates.items():
                start = time.perf_counter()
                for _ in pool.map(lambda path, name=name: DECODERS[name](path, options.size), files):
                    pass
                found.append(len(files) / (time.perf_counter() - start))
    for name, found in rates.items():
        ratio = statistics.median(ours / one for ours, one in zip(rates["imclass"], found, strict=True))
        spread = f"{statistics.median(found):6.1f} ({min(found):.1f} to {max(found):.1f})"
        print(f"{name:18} {spread} images/s, imclass {ratio:.2f} times as fast")
    options.output.write_text(json.dumps(rates, indent=1))


if __name__ == "__main__":
    main()
