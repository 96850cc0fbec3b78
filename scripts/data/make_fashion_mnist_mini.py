"""Make the bundled data set: the first 600 training and 100 test images of each class, in original order.

    python scripts/data/make_fashion_mnist_mini.py --check    # compare the bundled files with the originals
    python scripts/data/make_fashion_mnist_mini.py --source /usr/share/datasets/fashion-mnist --out DIR

Compressed bytes may differ between zlib versions, so `--check` compares contents. Prints the sha256 of the
contents for `MINI` in `imclass/data/fashion_mnist.py`.
"""

import argparse
import gzip
import hashlib
import shutil
import struct
import sys
from pathlib import Path

import torch
from torch import Tensor

from imclass.data.fashion_mnist import BUNDLED, OFFICIAL, idx_file, parse_idx, read_verified

PER_CLASS = {"train": 600, "t10k": 100}


def build(source: Path) -> dict[str, bytes]:
    """Return the contents of the small data set's four idx files by name."""
    contents = {}
    for part, count in PER_CLASS.items():
        names = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
        images, labels = (parse_idx(read_verified(idx_file(source, name), OFFICIAL[name])) for name in names)
        keep = first_of_each_class(labels, count)
        for name, array in zip(names, (images[keep], labels[keep]), strict=True):
            contents[name] = idx(array)
    return contents


def first_of_each_class(labels: Tensor, count: int) -> Tensor:
    """Return the sorted indices of the first `count` images of each class."""
    firsts = [(labels == label).nonzero().flatten()[:count] for label in labels.unique()]
    return torch.cat(firsts).sort().values


def idx(array: Tensor) -> bytes:
    """Encode a uint8 array as an idx file."""
    return struct.pack(f">2xBB{array.ndim}I", 8, array.ndim, *array.shape) + array.numpy().tobytes()


def write(contents: dict[str, bytes], folder: Path) -> None:
    """Write gzip files with no time or name in their headers, and the licence."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        with (
            (folder / f"{name}.gz").open("wb") as file,
            gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=file, mtime=0) as packed,
        ):
            packed.write(content)
    if folder.resolve() != BUNDLED.resolve():
        shutil.copy(BUNDLED / "LICENSE", folder)


def differing(contents: dict[str, bytes], folder: Path) -> list[str]:
    """Return the names of the files in `folder` that are missing or differ."""
    paths = {name: folder / f"{name}.gz" for name in contents}
    return [
        path.name
        for name, path in paths.items()
        if not path.is_file() or gzip.decompress(path.read_bytes()) != contents[name]
    ]


def main() -> int:
    """Write the data set, or compare it (exit 1 if it differs)."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--out", type=Path, default=BUNDLED)
    parser.add_argument("--check", action="store_true", help="compare --out with --source, write nothing")
    options = parser.parse_args()
    contents = build(options.source)
    if options.check:
        wrong = differing(contents, options.out)
        print(f"{options.out}: {'differs: ' + ', '.join(wrong) if wrong else 'equal'}")
        return int(bool(wrong))
    write(contents, options.out)
    for name, content in contents.items():
        size = (options.out / f"{name}.gz").stat().st_size
        print(f'    "{name}": "{hashlib.sha256(content).hexdigest()}",  # {size} bytes compressed')
    return 0


if __name__ == "__main__":
    sys.exit(main())
