"""Accuracy after equal minutes: imclass and its peers on the same images (see `peers.py`).

    python scripts/bench/equal_minutes.py [--root FOLDER] [--minutes 5] [--output equal_minutes.json]

FOLDER: CIFAR-10 as an image folder; without it Fashion-MNIST, as PNGs with a border of 2 pixels. Each trains
ResNet-18 with the stem for large images: the peers for the number of whole epochs that comes closest to the
time, estimated from a first training of one epoch; imclass with a `train.budget` of nine tenths of it, which
leaves the rest for start and test. The accuracy is that after the last epoch; imclass evaluates only then,
the peers after each. `imclass, speedrun` is the experiment of that data set, which selects its best
model on held-out images. Seconds are of the whole command.
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from peers import PEERS, Result, environment, measure_ours, ours, theirs


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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--output", type=Path, default=Path("equal_minutes.json"))
    options = parser.parse_args()
    python = environment()
    seconds = 60 * options.minutes
    budget = f"train.budget={0.9 * seconds:.0f}s"
    results: dict[str, dict[str, float]] = {}

    def report(name: str, found: Result, **more: float) -> None:
        results[name] = asdict(found) | more
        length = f"{more['epochs']:.0f} epochs" if more else ""
        print(f"{name:17} {length:9} {found.seconds:5.0f} s  {found.accuracy:.2%}", flush=True)
        options.output.write_text(json.dumps(results, indent=1))

    with tempfile.TemporaryDirectory() as folder:
        root = options.root or fashion_mnist(Path(folder, "all"))
        report("imclass", ours(root, "imagenet", budget, "train.eval_every=100000st"))
        for name in PEERS:
            first = theirs(name, python, root, 1, "imagenet")
            start = first.first_step
            epochs = max(1, round((seconds - start) / (first.seconds - start)))
            report(name, theirs(name, python, root, epochs, "imagenet"), epochs=epochs)
    settings = ["experiment=fashion_mnist_speedrun"]
    if options.root:
        settings = ["experiment=cifar10_speedrun", "dataset=image_folder", f"dataset.root={options.root}"]
    report("imclass, speedrun", measure_ours([*settings, budget]))


if __name__ == "__main__":
    main()
