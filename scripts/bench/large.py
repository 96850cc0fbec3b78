"""More images than memory: the rate of training under a memory limit against that of a set that fits.

    python scripts/bench/large.py [--images 200000] [--limit-mb 2000] [--rounds 3] [--output large.json]

Makes the images (64x64 JPEG files, 2.4 GB decoded) in a temporary folder, and decodes them into a cache under
the limit, interrupted once by SIGKILL. Each round then trains ResNet-18 (ImageNet stem, batch 128) on all of
them under the limit, which counts the file pages that the process holds, and on a tenth of them without one.
The limit is a memory control group of version 1 or 2: needs root on Linux.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES, SIDE = 10, 64
GROUPS = Path("/sys/fs/cgroup")


def make_images(root: Path, count: int, label: int) -> None:
    """Write `count` images of one class: noise around a grey of its own."""
    folder = root / "train" / f"class{label}"
    folder.mkdir(parents=True)
    draws = np.random.default_rng(label)
    for index in range(count):
        coarse = draws.integers(10 * label, 10 * label + 120, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((SIDE, SIDE)).save(folder / f"{index}.jpg", quality=75)


@contextlib.contextmanager
def memory_group(megabytes: int) -> Iterator[Path]:
    """Yield a control group whose processes may hold so much memory, pages of files included."""
    old = GROUPS / "memory"
    group = (old if old.is_dir() else GROUPS) / f"imclass-{os.getpid()}"
    group.mkdir()
    limit = group / ("memory.limit_in_bytes" if old.is_dir() else "memory.max")
    limit.write_text(str(megabytes * 1_000_000))
    try:
        yield group
    finally:
        group.rmdir()


def command(root: Path, folder: str, name: str, *overrides: str) -> list[str]:
    settings = ["dataset=image_folder", f"dataset.root={root}", f"dataset.resize={SIDE}", "model=resnet18"]
    settings += ["model.stem=imagenet", "augment=crop_flip", "train.batch_size=128", "dataset.val_split=0.01"]
    settings += ["dataset.test_split=0.005", "logger.plots=false", f"output_dir={folder}", f"name={name}"]
    return [sys.executable, "-m", "imclass", "train", *settings, *overrides]


def start(arguments: list[str], group: Path | None) -> subprocess.Popen:
    enter = None if group is None else partial((group / "cgroup.procs").write_text, "0")
    return subprocess.Popen(arguments, preexec_fn=enter, stdout=subprocess.DEVNULL)


def rate(root: Path, folder: str, name: str, steps: int, group: Path | None) -> dict[str, float]:
    """Train; return images/s of the second half's log points, and the seconds until training began."""
    began = time.perf_counter()
    arguments = command(root, folder, name, f"train.steps={steps}", f"train.log_every={steps // 4}st")
    process = start([*arguments, "train.eval_every=100000st"], group)
    if process.wait():
        sys.exit(f"{name} ended with {process.returncode}")
    seconds = time.perf_counter() - began
    lines = map(json.loads, Path(folder, name, "metrics.jsonl").read_text().splitlines())
    rates = [line["images_per_second"] for line in lines if line["split"] == "train"]
    return {"images/s": statistics.mean(rates[-2:]), "seconds": seconds}


def decoded(folder: str) -> int:
    """Return the bytes in the unfinished cache."""
    return sum(part.stat().st_size for part in Path(folder, "cache").glob("*.part"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--limit-mb", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--output", type=Path, default=Path("large.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as folder, memory_group(options.limit_mb) as group:
        os.environ["IMCLASS_CACHE"] = f"{folder}/cache"
        large, small = Path(folder, "large"), Path(folder, "small")
        with ProcessPoolExecutor() as pool:
            for root, count in (large, options.images), (small, options.images // 10):
                list(pool.map(partial(make_images, root, count // CLASSES), range(CLASSES)))
        print(f"made {options.images:,} images, and {options.images // 10:,} more", flush=True)
        began = time.perf_counter()
        process = start(command(large, folder, "first", "train.steps=1"), group)
        half = options.images * 3 * SIDE**2 / 2
        while process.poll() is None and decoded(folder) < half:
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept, killed = decoded(folder), time.perf_counter() - began
        rate(large, folder, "second", 4, group)
        whole = time.perf_counter() - began
        print(f"killed after {killed:.0f} s with {kept / 1e6:.0f} MB decoded; cached after {whole:.0f} s")
        rows = []
        for number in range(options.rounds):
            row = {"limited": rate(large, folder, f"large{number}", options.steps, group)}
            row["fits"] = rate(small, folder, f"small{number}", options.steps, None)
            rows.append(row | {"ratio": row["limited"]["images/s"] / row["fits"]["images/s"]})
            print(rows[-1], flush=True)
            options.output.write_text(json.dumps(rows, indent=1))
        ratios = [row["ratio"] for row in rows]
        print(f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
