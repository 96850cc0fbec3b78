"""A training that stays at a point, to be looked at while it is there."""

import itertools
import os
import time
from dataclasses import dataclass
from pathlib import Path

from imclass.commands.selftest.points import POINTS


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
