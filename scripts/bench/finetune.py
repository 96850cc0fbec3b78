"""Fine-tuning against training from scratch: 8 classes of CIFAR-10, then 100 images each of the other 2.

    python scripts/bench/finetune.py --root FOLDER [--seeds 3] [--output finetune.json] [overrides]

FOLDER: CIFAR-10 as an image folder with train/ and test/. The first training takes 500 images of each of the
first 8 classes, once; what follows takes 100 training and all test images of `ship` and `truck`, for each
seed. Every training has one thread. Seconds are those of its processor, with start and test, so that other
programs on the machine count little.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SECOND = ("ship", "truck")
IMAGES = {"first": 500, "second": 100}  # of a class
COMMON = (
    "model=resnet18",
    "dataset=image_folder",
    "device.threads=1",
    "logger.quiet=true",
    "logger.plots=false",
)
FIRST = ("augment=crop_flip", "train.epochs=4", "train.batch_size=64", "optimizer.lr=0.05")
LATER = ("train.epochs=10", "train.batch_size=16")
WEIGHTS = "model.weights=first"
WAYS = {
    "from scratch": ("augment=crop_flip", "optimizer.lr=0.05"),
    "fine-tuned": (WEIGHTS, "augment=crop_flip", "optimizer.lr=0.01"),
    "freeze=backbone, augment=none": (WEIGHTS, "augment=none", "optimizer.lr=0.05", "model.freeze=backbone"),
}


def copy_classes(source: Path, target: Path, names: list[str], count: int) -> None:
    """Copy `count` training images of each class and all of its test images."""
    for part, most in (("train", count), ("test", None)):
        for name in names:
            (target / part / name).mkdir(parents=True)
            for file in sorted((source / part / name).iterdir())[:most]:
                shutil.copy(file, target / part / name)


def train(folder: Path, name: str, *overrides: str) -> dict[str, float]:
    """Train in `folder`; return test accuracy and the processor's seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "imclass", "train", f"name={name}", *COMMON, *overrides]
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    summary = json.loads((folder / "outputs" / name / "summary.json").read_text())
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"accuracy": summary["test"]["accuracy"], "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("finetune.json"))
    options, overrides = parser.parse_known_args()
    classes = sorted(path.name for path in (options.root / "train").iterdir())
    results: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        first = [name for name in classes if name not in SECOND]
        copy_classes(options.root, folder / "first", first, IMAGES["first"])
        copy_classes(options.root, folder / "second", list(SECOND), IMAGES["second"])
        source = train(folder, "first", "dataset.root=first", *FIRST, *overrides)
        print(f"first 8 classes: {source['accuracy']:.1%} in {source['seconds']:.0f} s", flush=True)
        for seed in range(options.seeds):
            for number, (way, settings) in enumerate(WAYS.items()):
                more = ("dataset.root=second", f"seed={seed}", *LATER, *settings, *overrides)
                results[way].append(train(folder, f"way{number}-{seed}", *more))
                options.output.write_text(json.dumps({"first": source, "ways": results}, indent=2))
                print(f"seed {seed}, {way}: {results[way][-1]}", flush=True)
    for way, runs in results.items():
        accuracies = [100 * run["accuracy"] for run in runs]
        spread = statistics.stdev(accuracies) if len(runs) > 1 else 0.0
        seconds = statistics.mean(run["seconds"] for run in runs)
        print(f"{way:30} {statistics.mean(accuracies):5.1f} % ± {spread:.1f}   {seconds:4.0f} s")


if __name__ == "__main__":
    main()
