"""Training steps do not wait for the device, and leave nothing on another one.

The device is torch's "meta": its tensors have no values, so that `.item()`, `.cpu()`, `nonzero` and a mask as
an index, all of which wait for a GPU, raise; so does an operation that mixes it with a tensor on the CPU. Not
seen: a tensor on the CPU as an index into one on the device. Copies from memory that is not pinned wait too:
they are the subject of test_fake_gpu.py.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from imclass.config.check import check_config
from imclass.config.plan import Plan
from imclass.config.schema import Config
from imclass.data.augment import Augment
from imclass.data.dataset import Data
from imclass.data.loader import Images, TrainLoader
from imclass.machine.device import Device
from imclass.training.build import build_data, build_learner
from imclass.training.trainer import Trainer

AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "crop": {"crop": 4, "flip": True, "cutout": 8, "mixup": 0.2},
    "reflect": {"crop": 2, "crop_padding": "reflect", "flip": "alternating", "cutmix": 1.0},
    "randaugment": {"randaugment": 2, "random_erasing": 0.5},
    "trivialaugment": {"trivialaugment": True},
    "photo": {"resized_crop": True, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4},
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9, "nesterov": True},
    "adam": {"betas": [0.9, 0.99], "eps": 1e-8},
    "adamw": {"betas": [0.9, 0.99], "eps": 1e-8},
    "rmsprop": {"momentum": 0.9, "alpha": 0.9, "eps": 1e-8},
    "muon": {"momentum": 0.9, "nesterov": True, "adamw_lr": 0.1, "normalize_weights": True},
}
MODELS = "speednet", "resnet18", "densenet121", "vgg11", "lenet", "wideresnet40_4", "mobilenet_v2"


@pytest.fixture(autouse=True)
def meta(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """The device. Autocast, pinned memory and fused optimizers are not made for it."""
    monkeypatch.setattr(Device, "autocast", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(Device, "fits", lambda device, size: True)
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
    for name in ("SGD", "Adam", "AdamW"):
        plain = getattr(torch.optim, name)
        monkeypatch.setattr(
            torch.optim, name, lambda *args, plain=plain, fused=False, **more: plain(*args, **more)
        )
    yield fp32_on("meta")


def fp32_on(device: str) -> Device:
    return Device(
        device=torch.device(device),
        precision="fp32",
        memory_format=torch.channels_last,
        compile=False,
        threads=1,
        micro_batch=None,
        reasons=(),
    )


def config_of(
    model: str = "lenet", augment: str = "crop", optimizer: str = "sgd", side: int = 32, **loss: Any
) -> Config:
    images = {"train": 64, "test": 32, "shape": [3, side, side]}
    settings = {
        "model": {"name": model},
        "dataset": {"name": "synthetic", "synthetic": images, "val_split": "test"},
        "optimizer": {"name": optimizer, "lr": 0.1, **OPTIMIZERS[optimizer]},
        "scheduler": {"final": 0.0},
        "augment": AUGMENTATIONS[augment],
        "train": {"batch_size": 16, "epochs": 1.0, "ema": 0.9, "label_smoothing": 0.1, "grad_clip": 1.0}
        | loss,
    }
    return check_config(settings, to_train=False)


def trainer_on(device: Device, **choices: Any) -> Trainer:
    config = config_of(**choices)
    return trainer_of(config, build_data(config), device)


def trainer_of(config: Config, data: Data, device: Device) -> Trainer:
    plan = Plan.of(config, 4)
    learner = build_learner(config, data, device, 4, 4, resumed=True)
    images = Images(data.train, device, data.shape[1:], data.mean, data.std)
    loader = TrainLoader(images, 16, Augment(config.augment, 10), seed=0)
    return Trainer(learner, loader, lambda model: None, plan, logger=None, checkpointer=None)  # type: ignore[arg-type,return-value]


def train(trainer: Trainer, steps: int = 2) -> None:
    for _ in range(steps):
        trainer.train_step()
    tensors = [
        *trainer.learner.model.state_dict().values(),
        *trainer.learner.ema.module.state_dict().values(),
    ]
    assert {tensor.device.type for tensor in (*tensors, trainer.grad_norm)} == {
        trainer.learner.device.device.type
    }


@pytest.mark.parametrize("model", MODELS)
def test_models(meta: Device, model: str) -> None:
    train(trainer_on(meta, model=model))


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_augmentations(meta: Device, augment: str) -> None:
    train(trainer_on(meta, augment=augment))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers(meta: Device, optimizer: str) -> None:
    train(trainer_on(meta, optimizer=optimizer))


@pytest.mark.parametrize("augment", ["crop", "trivialaugment"])
def test_losses(meta: Device, augment: str) -> None:
    train(trainer_on(meta, augment=augment, class_weights="auto", focal_gamma=2.0))


def test_lower_resolutions(meta: Device) -> None:
    trainer = trainer_on(meta, resolutions=["16:25%", "24:50%"])
    assert [trainer.plan.side(step) for step in range(3)] == [16, 24, None]
    train(trainer, steps=3)


def test_a_step_that_waits_is_noticed(meta: Device) -> None:
    """The proof of the proof: the figures of a log point are read from the device."""
    trainer = trainer_on(meta)
    trainer.train_step()
    with pytest.raises(RuntimeError, match="meta tensor"):
        trainer.meter.compute()
