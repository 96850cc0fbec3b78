"""How long a training will take whose images are not prepared yet: `measure_pace` on noise like them."""

import dataclasses
from collections.abc import Mapping

from imclass.config.dataset import SyntheticConfig
from imclass.config.plan import Plan
from imclass.config.schema import Config
from imclass.data.dataset import side_with_margin
from imclass.machine.device import Device
from imclass.training.build import build_data, build_setup
from imclass.training.pace import BATCHES, Pace, measure_pace

SECONDS = 1.0  # to measure steps in: it is to be known soon
STEP_ON_CPU = 8  # images of a measured step: on a CPU, the time grows with their number


def seconds_of_training(
    config: Config, device: Device, shape: tuple[int, int, int], classes: int, images: Mapping[str, int]
) -> float:
    """Return the seconds of a training of `config`, its evaluations and its test.

    shape: channels, height, width as the network sees them. images: of train, val and test.
    """
    batch = config.train.batch_size
    measured = min(batch, STEP_ON_CPU) if device.device.type == "cpu" else batch
    noise = _on_noise(config, measured, shape, classes)
    setup = build_setup(noise, build_data(noise), device)
    pace = measure_pace(setup, SECONDS)
    evaluated = pace.evaluation / len(setup.val)  # seconds for an image
    steps = {side: seconds * batch / measured for side, seconds in pace.step.items()}
    plan = Plan.of(config, max(images["train"] // batch, 1))
    return Pace(steps, evaluated * images["val"]).seconds(plan) + evaluated * images["test"]


def _on_noise(config: Config, batch: int, shape: tuple[int, int, int], classes: int) -> Config:
    """Return the configuration with as much synthetic data as is measured, in batches of `batch` images."""
    channels, *sides = shape
    stored = [channels, *(side_with_margin(side, config.dataset.centre) for side in sides)]
    val = BATCHES * batch
    synthetic = SyntheticConfig(shape=stored, classes=classes, train=val + batch, test=1)
    return dataclasses.replace(
        config,
        dataset=dataclasses.replace(config.dataset, name="synthetic", val_split=val, synthetic=synthetic),
        train=dataclasses.replace(config.train, batch_size=batch),
    )
