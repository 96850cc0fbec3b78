"""Accuracy after equal minutes: imclass and its peers on the same images (see `peers.py`).

    python scripts/bench/equal_minutes.py [--root FOLDER] [--minutes 5] [--output equal_minutes.json]

FOLDER: CIFAR-10 as an image folder; without it Fashion-MNIST, as PNGs with a border of 2 pixels. Each trains
ResNet-18 with the stem for large images for as many whole epochs of all images as fit into the time, which
two short trainings on 3,000 images tell. `imclass, speedrun` is the experiment of that data set, with
`train.budget`. Seconds are those of the whole command.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from peers import PEERS, Result, environment, measure_ours, ours, subset, theirs

IMAGES = 3000  # of the short trainings
Training = Callable[[Path, int], Result]  # image folder, epochs


def fashion_mnist(to: Path) -> Path:
    """Write Fashion-MNIST as an image folder of 32x32 pixels."""
    import torch
    from PIL import Image

    from imclass.config.check import check_config
    from imclass.training.build import build_data

    config = check_config({"dataset": {"name": "fashion_mnist", "val_split": "test"}}, to_train=False)
    data = build_data(config)
    for split, part in (("train", data.train), ("test", data.test)):
        for number, (image, label) in enumerate(zip(part.images, part.labels.tolist(), strict=True)):
            folder = to / split / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            pixels = torch.nn.functional.pad(image[0], [2] * 4)
            Image.fromarray(pixels.numpy()).save(folder / f"{number:05}.png", compress_level=1)
    return to


def epochs_that_fit(train: Training, few: Path, all_images: int, seconds: float) -> int:
    """Return how many epochs of all images `train` manages in this time, at least one."""
    once, twice = (train(few, epochs).seconds for epochs in (1, 2))
    start = 2 * once - twice
    return max(1, int((seconds - start) / ((twice - once) * all_images / IMAGES)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--output", type=Path, default=Path("equal_minutes.json"))
    options = parser.parse_args()
    python = environment()
    trainings: dict[str, Training] = {"imclass": partial(ours, stem="imagenet")}
    for name in PEERS:
        trainings[name] = partial(theirs, name, python, stem="imagenet")
    results: dict[str, tuple[int | None, Result]] = {}

    def report(name: str, epochs: int | None, found: Result) -> None:
        results[name] = epochs, found
        print(f"{name:17} {epochs or '':>3} epochs  {found.seconds:5.0f} s  {found.accuracy:.2%}", flush=True)
        written = {name: {"epochs": epochs, **asdict(one)} for name, (epochs, one) in results.items()}
        options.output.write_text(json.dumps(written, indent=1))

    with tempfile.TemporaryDirectory() as folder:
        root = options.root or fashion_mnist(Path(folder, "all"))
        few = subset(root, IMAGES, Path(folder, "few"))
        total = sum(1 for _ in (root / "train").rglob("*.*"))
        for name, train in trainings.items():
            epochs = epochs_that_fit(train, few, total, 60 * options.minutes)
            report(name, epochs, train(root, epochs))
    settings = ["experiment=fashion_mnist_speedrun"]
    if options.root:
        settings = ["experiment=cifar10_speedrun", "dataset=image_folder", f"dataset.root={options.root}"]
    report("imclass, speedrun", None, measure_ours([*settings, f"train.budget={options.minutes}min"]))


if __name__ == "__main__":
    main()
