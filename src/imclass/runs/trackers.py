"""Services that follow a run beside TensorBoard: Weights & Biases, MLflow.

What they have of a run is its metrics.jsonl, point by point. A resumed run offers all points again, and each
tracker takes those that it lacks: no point twice, none left out, whatever was killed. None of them ends a
training.
"""

import abc
import json
import re
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from imclass.config.check import flatten
from imclass.config.urls import without_password
from imclass.errors import UserError, first_line
from imclass.runs.atomic import write_atomically
from imclass.runs.folder import RunFolder
from imclass.runs.log_file import Warn
from imclass.runs.records import Record, read_bytes

PAUSE_SECONDS = 10.0  # between two requests, unless there was an evaluation
_IDS = "trackers.json"  # the ids by which the services know the run
_IS_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Tracker(abc.ABC):
    """What one service is sent. Every method may raise whatever the service's library raises."""

    where: str  # in words, or a URL

    @abc.abstractmethod
    def points(self, records: Iterable[Record]) -> None:
        """Send points of metrics.jsonl, without those that the service has."""

    @abc.abstractmethod
    def plots(self, files: Iterable[Path], step: int) -> None:
        """Send PNG files."""

    @abc.abstractmethod
    def figures(self, figures: Mapping[str, float], step: int) -> None:
        """Send what the run led to."""

    @abc.abstractmethod
    def close(self, status: str) -> None:
        """End the session. status: finished, interrupted, diverged or failed."""


Open = Callable[[], Tracker]


class Tracked:
    """A tracker whose errors become one warning: points that it did not take are offered again later.

    points: those that the run has so far.
    """

    def __init__(self, name: str, open_it: Open, points: Iterable[Record], warn: Warn):
        self.name, self._open, self._warn = name, open_it, warn
        self._tracker: Tracker | None = None
        self._waiting, self._warned = list(points), False
        self._pause, self._sent_at = PAUSE_SECONDS, time.monotonic()  # doubled by each failure
        self._try(self._send)

    @property
    def where(self) -> str:
        return self._tracker.where if self._tracker else "not reached so far"

    def add(self, record: Record) -> None:
        """Send a point, at the latest with the next evaluation; after a failure, once the pause is over."""
        self._waiting.append(record)
        evaluated = record["split"] != "train" and self._pause == PAUSE_SECONDS
        if evaluated or time.monotonic() - self._sent_at > self._pause:
            self._try(self._send)

    def result(self, figures: Mapping[str, float], plots: Iterable[Path], step: int) -> None:
        self._try(self._send)
        self._try(lambda: self._opened().figures(figures, step))
        self._try(lambda: self._opened().plots(plots, step))

    def close(self, status: str) -> None:
        self._try(self._send)
        if self._tracker is not None:
            self._try(lambda: self._opened().close(status))

    def _send(self) -> None:
        self._opened().points(self._waiting)
        self._waiting = []
        self._pause, self._sent_at = PAUSE_SECONDS, time.monotonic()

    def _opened(self) -> Tracker:
        if self._tracker is None:
            self._tracker = self._open()
        return self._tracker

    def _try(self, act: Callable[[], None]) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the services' libraries, about themselves
                act()
        except Exception as error:  # of anything between here and a server, which may take its timeout
            self._pause, self._sent_at = 2 * self._pause, time.monotonic()
            if not self._warned:
                self._warned = True
                reason = without_password(first_line(error))
                self._warn(f"{self.name}: {reason}; training continues; it is sent again later")


def open_trackers(run: RunFolder, points: Sequence[Record], warn: Warn) -> list[Tracked]:
    """Return the trackers that the run's configuration asks for. points: those that the run has so far."""
    openers: dict[str, Open] = {}
    if run.config.logger.wandb:
        from imclass.runs.wandb_run import WandbRun

        openers["wandb"] = lambda: WandbRun(run.path, Ids(run.path), flatten(run.settings))
    if run.config.logger.mlflow:
        from imclass.runs.mlflow_run import MlflowRun

        openers["mlflow"] = lambda: MlflowRun(run.path, Ids(run.path), flatten(run.settings))
    return [Tracked(name, open_it, points, warn) for name, open_it in openers.items()]


class Ids:
    """trackers.json: {service: id of the run}. Without it, or where it is damaged, the run gets new ids."""

    def __init__(self, folder: Path):
        self._file = folder / _IDS
        self._ids: dict[str, str] = {}
        if self._file.exists():
            try:
                found: Any = json.loads(read_bytes(self._file, 100_000))
                self._ids = {k: v for k, v in dict(found).items() if _IS_ID.fullmatch(str(v))}
            except (UserError, ValueError, TypeError):
                self._ids = {}

    def __getitem__(self, service: str) -> str | None:
        return self._ids.get(service)

    def __setitem__(self, service: str, number: str) -> None:
        self._ids[service] = number
        write_atomically(self._file, json.dumps(self._ids) + "\n")
