"""Where a run's figures go: the terminal and train.log, metrics.jsonl and .csv, TensorBoard.

Each keeps its position in the checkpoint. A resumed run cuts its files back to there, so that every
step stands in them exactly once.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imclass.runs.console import Console
from imclass.runs.metrics_file import MetricsFile
from imclass.runs.records import Record
from imclass.runs.tensorboard import TensorBoard


class RunLogger:
    """Everything that a run writes about its progress. `state`: `state_dict()` of the checkpoint."""

    def __init__(self, folder: Path, console: Console, state: Mapping[str, Any], *, tensorboard: bool):
        self.console = console
        self.metrics = MetricsFile(folder / "metrics.jsonl", state.get("metrics", 0))
        self.tensorboard = TensorBoard(folder / "tensorboard", state.get("events", {}), enabled=tensorboard)

    def train(
        self, step: int, epoch: float, figures: Mapping[str, float], images: int, **extra: float
    ) -> None:
        """Log a point of training: means over `images` images. extra: lr, images_per_second, grad_norm."""
        self._log("train", step, epoch, figures, images, extra)

    def evaluated(
        self, split: str, step: int, epoch: float, figures: Mapping[str, float], images: int
    ) -> Record:
        """Log an evaluation; return the last row of metrics.csv."""
        self._log(split, step, epoch, figures, images, {})
        return self.metrics.write_csv()

    def state_dict(self) -> dict[str, Any]:
        return {"metrics": self.metrics.size, "events": self.tensorboard.sizes()}

    def close(self) -> None:
        self.metrics.close()
        self.tensorboard.close()
        self.console.close()

    def _log(
        self,
        split: str,
        step: int,
        epoch: float,
        figures: Mapping[str, float],
        images: int,
        extra: Mapping[str, float],
    ) -> None:
        self.metrics.write(
            {"step": step, "epoch": round(epoch, 6), "split": split, **figures, "images": images, **extra}
        )
        self.tensorboard.scalars({f"{split}/{k}": v for k, v in {**figures, **extra}.items()}, step)
