"""Named points of a training, hooked from outside: nothing in the loop knows of them.

Each installs a hook that calls `reached` whenever a training comes by.
"""

import importlib
import itertools
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Reached = Callable[..., None]
Install = Callable[[Reached], None]
Patch = Callable[[], None]  # installed in a training before it starts


def call(function: str, *, returned: bool = False) -> Install:
    """When `module:function` or `module:class.method` is called, or has returned."""
    module, _, path = function.partition(":")

    def install(reached: Reached) -> None:
        *owners, name = path.split(".")
        owner: Any = importlib.import_module(module)
        for part in owners:
            owner = getattr(owner, part)
        original = getattr(owner, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if not returned:
                reached()
            result = original(*args, **kwargs)
            if returned:
                reached()
            return result

        setattr(owner, name, wrapper)

    return install


def rename(target: str, *, done: bool = False) -> Install:
    """When a file is about to be renamed to `target`, or has been."""

    def install(reached: Reached) -> None:
        replace = Path.replace

        def wrapper(self: Path, to: Path) -> Path:
            here = Path(to).name == target
            if here and not done:
                reached()
            result = replace(self, to)
            if here and done:
                reached()
            return result

        Path.replace = wrapper  # type: ignore[method-assign,assignment]

    return install


def half_written(target: str) -> Install:
    """When half of the first part of what becomes the checkpoint `target` is written."""

    def install(reached: Reached) -> None:
        from imclass.runs.checkpoint import HashedFile

        write = HashedFile.write

        def wrapper(self: HashedFile, data: Any) -> int:
            if self.size == 0 and str(self.raw.name).endswith(target):
                reached(lambda: write(self, bytes(data)[: len(data) // 2]))
            return write(self, data)

        HashedFile.write = wrapper  # type: ignore[method-assign]

    return install


POINTS: dict[str, Install] = {
    "data preparation": call("imclass.training.build:prepare_data"),
    "building the model": call("imclass.training.build:build_network"),
    "before the first step": call("imclass.training.trainer:Trainer.fit"),
    "in a step": call("imclass.training.step:Learner.step", returned=True),  # changed, not yet counted
    "between two log lines": call("imclass.runs.metrics_file:MetricsFile.write", returned=True),
    "in an evaluation": call("imclass.evaluation.evaluate:logits_of"),
    "half of last.pt written": half_written("last.pt"),
    "before last.pt becomes previous.pt": rename("previous.pt"),
    "before the rename to last.pt": rename("last.pt"),
    "after the rename to last.pt": rename("last.pt", done=True),
    "before the rename to best.pt": rename("best.pt"),
    "after the rename to best.pt": rename("best.pt", done=True),
    "before the test": call("imclass.training.lifecycle:conclude"),
    "before the rename to best.safetensors": rename("best.safetensors"),
    "before the rename to summary.json": rename("summary.json"),
    "after the rename to summary.json": rename("summary.json", done=True),
    "before the rename to report.html": rename("report.html"),
    "after the rename to report.html": rename("report.html", done=True),
}


@dataclass(frozen=True)
class At:
    """Send this process, or its group, a signal when it comes by a point for the `nth` time."""

    point: str
    nth: int = 1
    signal: int = signal.SIGKILL
    group: bool = False

    def __call__(self) -> None:
        count = itertools.count(1)

        def reached(first: Callable[[], object] = lambda: None) -> None:
            if next(count) == self.nth:
                first()
                (os.killpg if self.group else os.kill)(os.getpid(), self.signal)

        POINTS[self.point](reached)
