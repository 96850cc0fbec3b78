"""The study on disk: Optuna's journal, read and written through, with its sampler and its pruner."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from imclass.runs.locks import locked, try_lock
from imclass.sweeps.journal import Journal
from imclass.sweeps.request import CLAIMS

SEARCH, REPEATS = "search", "repeats"  # the two studies of a journal


@dataclass(frozen=True, slots=True)
class Configuration:
    """What was tried, with all attempts at it; the last one decides.

    number: counts configurations, and names the run folder; Optuna's numbers count attempts.
    """

    number: int
    attempts: tuple[FrozenTrial, ...]

    @property
    def origin(self) -> int:
        """Return Optuna's number of the first attempt."""
        return self.attempts[0].number

    @property
    def last(self) -> FrozenTrial:
        return self.attempts[-1]

    @property
    def state(self) -> str:
        """Return complete, pruned, diverged, failed or running."""
        if self.last.state == TrialState.PRUNED and self.last.user_attrs.get("diverged"):
            return "diverged"
        names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
        return names.get(self.last.state, "running")

    @property
    def value(self) -> float | None:
        """Return the metric of a trial that ran to its end."""
        return self.last.value if self.state == "complete" else None


def open_storage(folder: Path) -> JournalStorage:
    """Open the journal of a sweep's folder, which is created if there is none."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return JournalStorage(Journal(folder / "journal.log"))


def open_study(folder: Path, kind: str, metric: str) -> optuna.Study:
    """Open a study, `SEARCH` or `REPEATS`, of a sweep's folder; it is created if there is none."""
    with locked(folder / CLAIMS):
        return optuna.create_study(
            storage=open_storage(folder),
            study_name=kind,
            direction="maximize" if metric == "val.accuracy" else "minimize",
            pruner=optuna.pruners.NopPruner(),
            load_if_exists=True,
        )


def configurations(study: optuna.Study) -> list[Configuration]:
    """Return all that was tried, in the order in which it was begun."""
    groups: dict[int, list[FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False):
        groups.setdefault(trial.user_attrs.get("retry_of", trial.number), []).append(trial)
    return [Configuration(number, tuple(attempts)) for number, attempts in enumerate(groups.values())]


def ranked(found: Sequence[Configuration], metric: str) -> list[Configuration]:
    """Return the configurations that ran to their end, the best first."""
    sign = -1 if metric == "val.accuracy" else 1
    return sorted((c for c in found if c.value is not None), key=lambda c: sign * float(c.value or 0))


def build_sampler(name: str, seed: int, drawn: int) -> BaseSampler:
    """Return the sampler for the next draw: its numbers depend on the seed and on how many were drawn.

    So a sweep that goes on does not draw the first ones again.
    """
    digest = hashlib.sha256(json.dumps([seed, drawn]).encode()).digest()
    number = int.from_bytes(digest[:4], "big")
    if name == "cmaes":
        return CmaEsSampler(seed=number)
    return TPESampler(seed=number) if name == "tpe" else RandomSampler(seed=number)


def build_pruner(name: str, evaluations: int | None) -> optuna.pruners.BasePruner:
    """Return the pruner; evaluations: the most that a trial has, None if not known."""
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=evaluations or "auto")
    return optuna.pruners.MedianPruner() if name == "median" else optuna.pruners.NopPruner()


def add_running(
    study: optuna.Study,
    user_attrs: Mapping[str, Any],
    params: Mapping[str, Any] | None = None,
    distributions: Mapping[str, BaseDistribution] | None = None,
) -> None:
    """Create a trial that is running, with parameters that nobody has to draw."""
    study.add_trial(
        optuna.create_trial(
            state=TrialState.RUNNING,
            params=dict(params or {}),
            distributions=dict(distributions or {}),
            user_attrs=dict(user_attrs),
        )
    )


def with_states(folder: Path, study: optuna.Study) -> list[tuple[Configuration, str]]:
    """Return all that was tried, each with its state at this moment.

    What the study has as running is `interrupted` when no process, on any machine, holds its lock.
    """
    with locked(folder / CLAIMS):  # nobody takes a trial or ends one meanwhile
        return [
            (c, "interrupted" if c.state == "running" and not _is_held(folder, c) else c.state)
            for c in configurations(study)
        ]


def _is_held(folder: Path, configuration: Configuration) -> bool:
    lock = try_lock(lock_file(folder, configuration))
    if lock is not None:
        os.close(lock)
    return lock is None


def lock_file(folder: Path, configuration: Configuration) -> Path:
    """Return the file that is locked as long as a process trains a configuration."""
    locks = folder / "locks"
    locks.mkdir(exist_ok=True)
    return locks / f"{folder_of(configuration)}.lock"


def folder_of(configuration: Configuration) -> str:
    """Return the name of the run folder that all attempts at a configuration share."""
    origin = configuration.last.user_attrs
    if "repeats" in origin:
        return f"trial_{origin['repeats']:04d}_seed_{origin['seed']}"
    return f"trial_{configuration.number:04d}"
