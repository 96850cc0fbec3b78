"""The same training with ultralytics: its classification trainer on torchvision's ResNet-18, from scratch.

The head is its own, as it puts one on every backbone.

    python scripts/bench/peers/with_ultralytics.py FOLDER [--epochs 2] [--batch 128] [--stem cifar]

Prints `first step` after its first step and `accuracy A` at the end.
"""

import argparse
import tempfile
from pathlib import Path

from network import STEMS
from torch import nn
from ultralytics.models.yolo.classify import ClassificationTrainer

MODEL = """
nc: 1000  # it counts the classes itself
backbone:
  - [-1, 1, TorchVision, [512, resnet18, null, True, 2]]  # null: no weights
head:
  - [-1, 1, Classify, [nc]]
"""


class SmallImages(ClassificationTrainer):
    """Training of the network with a first layer for small images, as torchvision's has none."""

    def get_model(self, *args: object, **settings: object) -> nn.Module:
        model = super().get_model(*args, **settings)
        layers = model.model[0].m  # torchvision's
        layers[0], layers[3] = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
        return model


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--stem", choices=STEMS, default="cifar")
    options = parser.parse_args()
    said = []

    def first(trainer: object) -> None:
        if not said:
            said.append(print("\nfirst step", flush=True))

    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "resnet18-cls.yaml")
        model.write_text(MODEL)
        settings = {"imgsz": 32, "epochs": options.epochs, "batch": options.batch, "workers": 2}
        settings |= {"device": "cpu", "pretrained": False, "project": folder, "plots": False}
        kind = SmallImages if options.stem == "cifar" else ClassificationTrainer
        trainer = kind(overrides={"model": str(model), "data": options.folder, **settings})
        trainer.add_callback("on_train_batch_end", first)
        trainer.train()
        print(f"\naccuracy {float(trainer.metrics['metrics/accuracy_top1']):.4f}", flush=True)


if __name__ == "__main__":
    main()
