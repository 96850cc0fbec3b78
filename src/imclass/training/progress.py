"""How far a training has come, and how long that took."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from imclass.config.metric import METRICS
from imclass.config.plan import Plan

SAVE_SHARE = 0.02  # of the time, that saving may take where checkpoint.every=null
SAVE_SECONDS = 60.0  # between two saves there, unless an evaluation has just ended


@dataclass(slots=True)
class Progress:
    """Where a training stands: with the `state_dict`s of its components, all that a resume needs."""

    step: int = 0
    evaluated: int = 0  # the last step whose evaluation has ended
    best: dict[str, float] = dataclasses.field(default_factory=dict)  # step, epoch, figures
    val: dict[str, float] = dataclasses.field(default_factory=dict)  # the latest figures
    waited: int = 0  # evaluations since the best
    stopped: str = ""  # why training ended before the plan did

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Progress":
        """Read it from a checkpoint; imclass 0.1 stored whether an evaluation was due instead of the last."""
        state = dict(state)
        if "evaluating" in state:
            state["evaluated"] = state["step"] - state.pop("evaluating")
        return cls(**state)

    def record(self, figures: Mapping[str, float], epoch: float, metric: str) -> bool:
        """Record a validation; return whether it is better than all before it: at a tie, by its loss."""
        self.evaluated, self.val = self.step, dict(figures)

        def order(found: Mapping[str, float]) -> tuple[float, float]:
            return METRICS[metric].rank(found[metric]), found["loss"]

        improved = not self.best or order(self.val) < order(self.best)
        self.waited = 0 if improved else self.waited + 1
        if improved:
            self.best = {"step": self.step, "epoch": round(epoch, 6), **self.val}
        return improved


class Stopwatch:
    """Seconds spent on training and on evaluation, over all the sessions of a run."""

    def __init__(self) -> None:
        self.train = self.evaluate = self.this_session = 0.0
        self._since = self._saved_at = time.monotonic()
        self._train_at_log = self._save_seconds = 0.0

    def start(self) -> None:
        self._since = self._saved_at = time.monotonic()

    def book(self, kind: str) -> None:
        """Add the time since the last booking to `train` or `evaluate`."""
        now = time.monotonic()
        setattr(self, kind, getattr(self, kind) + now - self._since)
        self.this_session += now - self._since
        self._since = now

    @property
    def total(self) -> float:
        return self.train + self.evaluate + time.monotonic() - self._since

    @property
    def since_log(self) -> float:
        """Seconds of training since `logged` was called."""
        return max(1e-9, self.train + time.monotonic() - self._since - self._train_at_log)

    def logged(self) -> None:
        self.book("train")
        self._train_at_log = self.train

    @property
    def since_save(self) -> float:
        return time.monotonic() - self._saved_at

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Measure a save."""
        start = time.monotonic()
        yield
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - start

    @property
    def saving_is_cheap(self) -> bool:
        """True once so much time has passed since the last save that another takes SAVE_SHARE of it."""
        return self._save_seconds <= SAVE_SHARE * self.since_save

    def save_is_due(self, plan: Plan, step: int, *, evaluated: bool) -> bool:
        """Return whether the plan or the clock asks for a save. evaluated: `step` was just evaluated."""
        if plan.save_seconds is not None:
            return evaluated or self.since_save >= plan.save_seconds
        if plan.save_every is not None:
            return evaluated or step % plan.save_every == 0
        return self.saving_is_cheap and (evaluated or self.since_save >= SAVE_SECONDS)

    def state_dict(self) -> dict[str, Any]:
        return {"train": self.train, "evaluate": self.evaluate, "train_at_log": self._train_at_log}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.train, self.evaluate = state["train"], state["evaluate"]
        self._train_at_log = state["train_at_log"]
