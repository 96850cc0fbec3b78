"""The same training with Lightning, as its documentation writes one.

    python scripts/bench/peers/with_lightning.py FOLDER [--epochs 2] [--batch 128] [--stem cifar]

Prints `first step` after its first step and `accuracy A` at the end.
"""

import argparse

import lightning
import torch
import torchvision
from network import STEMS, resnet18
from torch.nn import functional
from torch.utils.data import DataLoader
from torchmetrics.functional import accuracy
from torchvision import transforms

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class LitResNet(lightning.LightningModule):
    def __init__(self, classes: int, lr: float, stem: str) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = resnet18(classes, stem)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        images, labels = batch
        loss = functional.cross_entropy(self.model(images), labels)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def evaluate(self, batch: list[torch.Tensor], stage: str) -> None:
        images, labels = batch
        logits = self.model(images)
        self.log(f"{stage}_loss", functional.cross_entropy(logits, labels), prog_bar=True)
        classes = self.hparams["classes"]
        score = accuracy(logits, labels, task="multiclass", num_classes=classes)
        self.log(f"{stage}_acc", score, prog_bar=True)

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        self.evaluate(batch, "val")

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.SGD(self.parameters(), self.hparams["lr"], momentum=0.9, weight_decay=5e-4)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class FirstStep(lightning.Callback):
    def on_train_batch_end(self, trainer: lightning.Trainer, *args: object) -> None:
        if trainer.global_step == 1:
            print("\nfirst step", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--stem", choices=STEMS, default="cifar")
    options = parser.parse_args()
    standard = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    augmented = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), *standard]
    train_set = torchvision.datasets.ImageFolder(f"{options.folder}/train", transforms.Compose(augmented))
    test_set = torchvision.datasets.ImageFolder(f"{options.folder}/test", transforms.Compose(standard))
    workers = {"num_workers": 2, "persistent_workers": True}  # as Lightning itself advises
    train_loader = DataLoader(train_set, options.batch, shuffle=True, drop_last=True, **workers)
    test_loader = DataLoader(test_set, options.batch, **workers)
    trainer = lightning.Trainer(max_epochs=options.epochs, callbacks=[FirstStep()])
    trainer.fit(LitResNet(len(train_set.classes), options.lr, options.stem), train_loader, test_loader)
    print(f"\naccuracy {float(trainer.callback_metrics['val_acc']):.4f}", flush=True)


if __name__ == "__main__":
    main()
