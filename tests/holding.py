"""A training that stays at a point, to be looked at or stopped while it is there."""

import functools
import itertools
import os
import time
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from imclass.commands.selftest.points import POINTS
from imclass.config.schema import ModelConfig
from imclass.machine.signals import STOP
from imclass.models.lenet import MODELS as LENET
from imclass.models.speednet import MODELS as SPEEDNET


@dataclass(frozen=True)
class Hold:
    """Stay at a point: leave a file `held` there, and wait to be killed, or for the end of who started it."""

    point: str
    nth: int = 1

    def __call__(self) -> None:
        count, parent = itertools.count(1), os.getppid()

        def reached(_: object = None) -> None:
            if next(count) == self.nth:
                Path("held").touch()
                while os.getppid() == parent:
                    time.sleep(0.02)

        POINTS[self.point](reached)


HOLD_AT = 7  # the step, counted in each process

# The entry points of models that hold their training: how a job that Slurm starts is stopped at a known step.
ENTRY_POINTS = """[imclass.models]
held_lenet = holding:held_lenet
held_speednet = holding:held_speednet
"""


def held_lenet(config: ModelConfig, in_channels: int, classes: int, size: int) -> nn.Module:
    """LeNet, whose training stays as that of `held_speednet` does, if it has dropout."""
    if config.dropout:
        hold_until_signalled()
    return LENET["lenet"](config, in_channels, classes, size)


def held_speednet(config: ModelConfig, in_channels: int, classes: int, size: int) -> nn.Module:
    """SpeedNet, whose training stays at a step if a file in the folder $HOLD asks for one to stay."""
    hold_until_signalled()
    return SPEEDNET["speednet"](config, in_channels, classes, size)


@functools.cache  # a model is built more than once
def hold_until_signalled() -> None:
    """Let rank 0 remove a file from the folder $HOLD, if there is one, and stay until a signal came."""
    count = itertools.count(1)

    def reached() -> None:
        if next(count) != HOLD_AT or os.environ.get("RANK", "0") != "0" or "HOLD" not in os.environ:
            return
        for file in Path(os.environ["HOLD"]).iterdir():
            try:
                file.unlink()
            except FileNotFoundError:  # another training took it
                continue
            while not STOP.number:
                time.sleep(0.02)
            return

    POINTS["in a step"](reached)
