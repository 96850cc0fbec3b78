"""The same training with ultralytics: its classification trainer on torchvision's ResNet-18, from scratch.

    python scripts/bench/peers/with_ultralytics.py FOLDER [--epochs 2] [--batch 128]

Prints `first step` after its first step and `accuracy A` at the end.
"""

import argparse
import tempfile

from ultralytics.models.yolo.classify import ClassificationTrainer


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
        settings = {"imgsz": 32, "epochs": options.epochs, "batch": options.batch, "workers": 2}
        settings |= {"device": "cpu", "pretrained": False, "project": folder, "plots": False}
        trainer = ClassificationTrainer(overrides={"model": "resnet18", "data": options.folder, **settings})
        trainer.add_callback("on_train_batch_end", first)
        trainer.train()
        print(f"\naccuracy {float(trainer.metrics['metrics/accuracy_top1']):.4f}", flush=True)


if __name__ == "__main__":
    main()
