"""The same training with ultralytics: its classification trainer on torchvision's ResNet-18, from scratch.

The head is its own, as it puts one on every backbone.

    python scripts/bench/peers/with_ultralytics.py FOLDER [--epochs 2] [--batch 128]

Prints `first step` after its first step and `accuracy A` at the end.
"""

import argparse
import tempfile
from pathlib import Path

from ultralytics.models.yolo.classify import ClassificationTrainer

MODEL = """
nc: 1000  # it counts the classes itself
backbone:
  - [-1, 1, TorchVision, [512, resnet18, null, True, 2]]  # null: no weights
head:
  - [-1, 1, Classify, [nc]]
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
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
        trainer = ClassificationTrainer(overrides={"model": str(model), "data": options.folder, **settings})
        trainer.add_callback("on_train_batch_end", first)
        trainer.train()
        print(f"\naccuracy {float(trainer.metrics['metrics/accuracy_top1']):.4f}", flush=True)


if __name__ == "__main__":
    main()
