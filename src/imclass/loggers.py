"""Where a run's figures go: the terminal and train.log, metrics.jsonl and .csv, TensorBoard.

Each keeps its position in the checkpoint. A resumed run cuts its files back to there, so that every
step stands in them exactly once.
"""

import csv
import io
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from imclass.records import Record, evaluation_rows, read_metrics
from imclass.result import Result

PLAIN_SECONDS = 10.0  # without a terminal, at most one status line in this time
BAR_SECONDS = 1.0  # how often a bar's figures are refreshed: reading them makes the host wait


class Console:
    """The terminal, and a copy of what it showed in train.log.

    On a terminal there is a progress bar per epoch; elsewhere plain lines, not too many; quiet shows
    the last block only. train.log has it all, also when nobody reads the terminal any more (a closed pipe).
    """

    def __init__(self, log: Path, *, quiet: bool):
        self._log = log.open("a", encoding="utf-8")
        self._quiet = quiet
        self._terminal = sys.stdout.isatty() and sys.stderr.isatty() and not quiet
        self._bar: tqdm | None = None
        self._shown = self._refreshed = 0.0
        self._held: str | None = None

    def line(self, text: str) -> None:
        """Show a line that must not be missed."""
        self._log_line(text)
        if not self._quiet:
            self._show(text)

    def status(self, text: str) -> None:
        """Show the result of an evaluation; without a terminal not before the last line is old enough.

        Until then it is held back, and takes the place of the next line of progress.
        """
        self._log_line(text)
        now = time.monotonic()
        if self._terminal or now - self._shown >= PLAIN_SECONDS:
            self._show_status(text)
        else:
            self._held = text

    def note(self, text: str) -> None:
        """Write a line to train.log only: the terminal shows it in another way."""
        self._log_line(text)

    def block(self, text: str) -> None:
        """Show the last block, also when quiet."""
        self._log_line(text)
        self._show(text)

    def start_epoch(self, name: str, steps: int, done: int) -> None:
        if self._terminal:
            self._bar = tqdm(
                total=steps, initial=done, desc=name, unit="batch", leave=False, dynamic_ncols=True
            )

    def advance(self) -> bool:
        """Count one step; return True when fresh figures are wanted through `progress`."""
        if self._bar is not None:
            self._bar.update()
        now = time.monotonic()
        wanted = now - (self._refreshed if self._bar is not None else self._shown)
        return wanted >= (BAR_SECONDS if self._bar is not None else PLAIN_SECONDS)

    def progress(self, text: str, result: Result, images_per_second: float) -> None:
        self._refreshed = time.monotonic()
        figures = f"loss {result.loss:.3f}, acc {result.accuracy:.1%}, {images_per_second:,.0f} img/s"
        if self._bar is not None:
            self._bar.set_postfix_str(figures)
        else:
            self._log_line(f"{text}: {figures}")
            self._show_status(self._held or f"{text}: {figures}")

    def end_epoch(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def close(self) -> None:
        self.end_epoch()
        self._log.close()

    def _log_line(self, text: str) -> None:
        self._log.write(text + "\n")
        self._log.flush()

    def _show_status(self, text: str) -> None:
        self._shown, self._held = time.monotonic(), None
        if not self._quiet:
            self._show(text)

    def _show(self, text: str) -> None:
        encoding = sys.stdout.encoding or "ascii"
        try:
            tqdm.write(text.encode(encoding, "replace").decode(encoding), file=sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader has left; the training goes on, and writes into nothing
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, sys.stdout.fileno())
            os.close(nothing)


class MetricsFile:
    """metrics.jsonl, one object per point, and metrics.csv, one row per evaluation, made from it."""

    def __init__(self, path: Path, size: int):
        self.path = path
        self._file = path.open("ab")
        self._file.truncate(min(size, path.stat().st_size))

    def write(self, record: Record) -> None:
        safe = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        self._file.write(json.dumps(safe).encode() + b"\n")
        self._file.flush()

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def write_csv(self) -> Record:
        """Write the row of every evaluation; return the last one."""
        rows = evaluation_rows(read_metrics(self.path))
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self.path.with_suffix(".csv").write_text(text.getvalue())
        return rows[-1]

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """The event files in `tensorboard/`. Without `enabled` nothing is written."""

    def __init__(self, folder: Path, sizes: Mapping[str, int], *, enabled: bool):
        self.folder = folder
        self._writer: Any = None
        self._cut_back(sizes)
        if enabled:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        if self._writer:
            for tag, value in values.items():
                self._writer.add_scalar(tag, value, step)

    def text(self, tag: str, text: str) -> None:
        if self._writer:
            self._writer.add_text(tag, text, 0)

    def plots(self, files: Iterable[Path], step: int) -> None:
        """Show PNG files under `plots/<their name>`."""
        if self._writer:
            for file in files:
                with Image.open(file) as image:
                    pixels = np.asarray(image.convert("RGB"))
                self._writer.add_image(f"plots/{file.stem}", pixels, step, dataformats="HWC")

    def hparams(self, settings: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Write the one row of the hparams table: settings with the figures that they led to."""
        if self._writer:
            from torch.utils.tensorboard.summary import hparams

            values = {
                k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in settings.items()
            }
            for summary in hparams(values, dict(metrics)):
                self._writer.file_writer.add_summary(summary)
            for tag, value in metrics.items():
                self._writer.add_scalar(tag, value)

    def sizes(self) -> dict[str, int]:
        """Return the byte sizes of the event files, after everything so far was written to them."""
        if self._writer:
            self._writer.flush()
        return {p.name: p.stat().st_size for p in sorted(self.folder.glob("events.out.tfevents.*"))}

    def close(self) -> None:
        if self._writer:
            self._writer.close()

    def _cut_back(self, sizes: Mapping[str, int]) -> None:
        for path in self.folder.glob("events.out.tfevents.*"):
            if path.name not in sizes:
                path.unlink()
            elif path.stat().st_size > sizes[path.name]:
                with path.open("ab") as file:
                    file.truncate(sizes[path.name])


class RunLogger:
    """Everything that a run writes about its progress. `state`: `state_dict()` of the checkpoint."""

    def __init__(self, folder: Path, console: Console, state: Mapping[str, Any], *, tensorboard: bool):
        self.console = console
        self.metrics = MetricsFile(folder / "metrics.jsonl", state.get("metrics", 0))
        self.tensorboard = TensorBoard(folder / "tensorboard", state.get("events", {}), enabled=tensorboard)

    def train(self, step: int, epoch: float, result: Result, extra: Mapping[str, float]) -> None:
        """Log a point of training. extra: lr, images_per_second, grad_norm."""
        self._log("train", step, epoch, result, extra)

    def evaluated(self, split: str, step: int, epoch: float, result: Result) -> Record:
        """Log an evaluation; return the last row of metrics.csv."""
        self._log(split, step, epoch, result, {})
        return self.metrics.write_csv()

    def state_dict(self) -> dict[str, Any]:
        return {"metrics": self.metrics.size, "events": self.tensorboard.sizes()}

    def close(self) -> None:
        self.metrics.close()
        self.tensorboard.close()
        self.console.close()

    def _log(self, split: str, step: int, epoch: float, result: Result, extra: Mapping[str, float]) -> None:
        figures = {"loss": result.loss, "accuracy": result.accuracy}
        record: Record = {"step": step, "epoch": round(epoch, 6), "split": split} | figures
        self.metrics.write(record | {"images": result.images} | dict(extra))
        self.tensorboard.scalars({f"{split}/{k}": v for k, v in {**figures, **extra}.items()}, step)
