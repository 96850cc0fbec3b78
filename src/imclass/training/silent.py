"""What stands in for the files and the terminal where another process writes them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imclass.runs.checkpoint import Checkpointer, State
from imclass.runs.console import Console
from imclass.runs.logger import RunLogger
from imclass.runs.records import Record


class SilentConsole(Console):
    """Shows nothing."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull), quiet=True)

    def advance(self) -> bool:
        return False

    def _show(self, text: str) -> None:
        pass


class SilentLogger(RunLogger):
    """Logs nothing."""

    def __init__(self) -> None:
        self.console = SilentConsole()

    def train(
        self, step: int, epoch: float, figures: Mapping[str, float], images: int, **extra: float
    ) -> None:
        pass

    def evaluated(
        self, split: str, step: int, epoch: float, figures: Mapping[str, float], images: int
    ) -> Record:
        return {"train_loss": None}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        self.console.close()


class SilentCheckpointer(Checkpointer):
    """Knows where the checkpoints lie, and writes none."""

    def save_last(self, state: State, header: Mapping[str, Any]) -> None:
        pass

    def save_best(self, state: State, header: Mapping[str, Any]) -> None:
        pass
