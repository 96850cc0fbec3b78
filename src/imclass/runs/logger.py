"""Where a run's figures go: the terminal and train.log, metrics.jsonl and .csv, TensorBoard, trackers.

Each keeps its position in the checkpoint. A resumed run cuts its files back to there, so that every
step stands in them exactly once. None of them ends a training: what a full disk does not take waits in
memory, and in the checkpoint, until there is room.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from imclass.runs.checkpoint import DamagedCheckpoint
from imclass.runs.console import Console
from imclass.runs.log_file import Warn, require_writable
from imclass.runs.metrics_file import MetricsFile, read_points
from imclass.runs.record_schema import POSITIONS, problem_of
from imclass.runs.records import Record
from imclass.runs.tensorboard import TensorBoard, cut_back, events_folder, whole_part
from imclass.runs.trackers import Tracked

Figures = Mapping[str, float]  # means over images, by name: loss, accuracy
OpenTrackers = Callable[[Sequence[Record], Warn], Sequence[Tracked]]


class RunLogger:
    """Everything that a run writes about its progress.

    state: `state_dict()` from the checkpoint, empty for a new run. trackers: opens them. Unless `enabled`,
    nothing is shown or written: rank 0 logs for all. Raises UserError where something else stands in the
    place of a log.
    """

    def __init__(
        self,
        folder: Path,
        state: Mapping[str, Any],
        *,
        quiet: bool = False,
        tensorboard: bool = True,
        trackers: OpenTrackers = lambda points, warn: [],
        enabled: bool = True,
    ):
        self._enabled, events = enabled, events_folder(folder)
        for name in ("train.log", "metrics.jsonl"):
            require_writable(folder / name)
        self.console = Console(folder / "train.log", quiet=quiet, enabled=enabled)
        warn, unwritten = self.console.warn, state.get("unwritten", {})
        self.metrics = MetricsFile(
            folder / "metrics.jsonl",
            state.get("metrics", 0),
            warn,
            unwritten=unwritten.get("metrics", ()),
            enabled=enabled,
        )
        if enabled:
            try:
                cut_back(events, state.get("events", {}))
            except OSError as error:
                warn(f"{error.filename}: {error.strerror}; it may repeat steps")
        self.tensorboard = TensorBoard(
            events,
            warn,
            unwritten=unwritten.get("events", ()),
            recorded=state.get("events", ()),
            enabled=enabled and tensorboard,
        )
        self.trackers = trackers(self.metrics.records, warn) if enabled else []

    def train(self, step: int, epoch: float, figures: Figures, images: int, **extra: float) -> None:
        """Log a point of training: means over `images` images. extra: lr, images_per_second, grad_norm."""
        self._log("train", step, epoch, figures, images, extra)

    def evaluated(self, split: str, step: int, epoch: float, figures: Figures, images: int) -> float | None:
        """Log an evaluation; return the mean training loss since the evaluation before, if it is known."""
        self._log(split, step, epoch, figures, images, {})
        row = self.metrics.last_row
        return row["train_loss"] if row else None

    def state_dict(self) -> dict[str, Any]:
        """Return the positions in the files, once all before them is on the disk, and what is in none yet."""
        if not self._enabled:
            return {}
        state = {"metrics": self.metrics.sync(), "events": self.tensorboard.sync()}
        waiting = {"metrics": self.metrics.unwritten, "events": self.tensorboard.unwritten}
        return state | ({"unwritten": waiting} if any(waiting.values()) else {})

    def incomplete(self) -> list[str]:
        """Return the names of the logs that lack what the disk did not take."""
        logs = {
            "train.log": self.console.unwritten,
            "metrics.jsonl": self.metrics.unwritten,
            "metrics.csv": self.metrics.csv_failed,
            "tensorboard": self.tensorboard.unwritten,
        }
        return [name for name, lacking in logs.items() if lacking]

    def result(self, figures: Figures, plots: Sequence[Path], step: int) -> None:
        """Send the trackers what the run led to."""
        for tracker in self.trackers:
            tracker.result(figures, plots, step)

    def close(self, status: str = "finished") -> None:
        """Close all files. status: how the run ended, for the trackers."""
        for tracker in self.trackers:
            tracker.close(status)
        self.metrics.close()
        self.tensorboard.close()
        self.console.close()

    def _log(
        self, split: str, step: int, epoch: float, figures: Figures, images: int, extra: Figures
    ) -> None:
        position = {"step": step, "epoch": round(epoch, 6), "split": split}
        self.metrics.write({**position, **figures, "images": images, **extra})
        for tracker in self.trackers:
            tracker.add(self.metrics.records[-1])
        if split != "test":  # the only point: no curve, but a column of the hparams table
            self.tensorboard.scalars({f"{split}/{k}": v for k, v in {**figures, **extra}.items()}, step)


def missing_logs(folder: Path, state: Any) -> list[str]:
    """Return a message per file of a run folder that is shorter than a checkpoint records, or damaged.

    state: the logger's part of the checkpoint. After a power cut, a file can be shorter than it was, or
    hold zeros; a resume from this checkpoint would leave a gap there. Raises DamagedCheckpoint for another
    state.
    """
    if problem := problem_of(state, POSITIONS):
        raise DamagedCheckpoint(f"{folder}: a checkpoint records invalid log positions ({problem})")
    events = events_folder(folder)
    sizes = {events / name: size for name, size in state.get("events", {}).items()}
    if "metrics" in state:
        sizes[folder / "metrics.jsonl"] = state["metrics"]
    return [text for file, size in sizes.items() if (text := _missing(file, size)) is not None]


def _missing(file: Path, size: int) -> str | None:
    """Return what the first `size` bytes of a file lack; None if they are whole."""
    if not file.is_file():
        return f"{file} is gone" if size else None
    if (found := file.stat().st_size) < size:
        return f"{file} has {found:,} bytes, fewer than the {size:,} that the checkpoint records"
    if file.suffix == ".jsonl":
        _, whole, _ = read_points(file, size)
    else:
        whole = whole_part(file.read_bytes()[:size])
    return None if whole == size else f"{file} is damaged at byte {whole:,} of {size:,}"
