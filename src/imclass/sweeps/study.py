"""The study on disk: Optuna's journal, and what it records of each trial.

Optuna never changes a trial that has ended. One that failed may be tried again, so it stays open in the
study, with the attribute `failed`; like any open trial, it is trained while a process holds its lock.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from imclass.config.metric import Metric
from imclass.errors import UserError
from imclass.runs.locks import locked, try_lock
from imclass.runs.log_file import require_writable
from imclass.sweeps.journal import JournalLock
from imclass.sweeps.request import CLAIMS

SEARCH, REPEATS = "search", "repeats"  # the two studies of a journal


def open_study(folder: Path, kind: str, metric: Metric) -> optuna.Study:
    """Open a study, `SEARCH` or `REPEATS`, of a sweep's folder; it is created if there is none.

    Raises UserError for a journal that no sweep wrote, and for a sweep in which imclass 0.1 recorded
    failures: its numbers counted attempts.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    journal = folder / "journal.log"
    require_writable(journal)
    try:
        with locked(folder / CLAIMS):
            study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(journal), JournalLock(journal))),
                study_name=kind,
                direction="maximize" if metric.maximize else "minimize",
                pruner=optuna.pruners.NopPruner(),
                load_if_exists=True,
            )
        failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    except (OSError, UserError):
        raise
    except Exception as error:  # whatever Optuna stumbles over in lines that it did not write
        raise UserError(
            f"{journal}: cannot be read as the journal of a sweep ({type(error).__name__}); restore it, or "
            "choose another sweep.name="
        ) from error
    if failed:
        raise UserError(f"{folder}: has failed trials of imclass 0.1; repeat it under another sweep.name=")
    return study


def trials_of(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials in the order in which they were begun."""
    return study.get_trials(deepcopy=False)


def state_of(trial: FrozenTrial) -> str:
    """Return complete, pruned, diverged, failed or running."""
    if trial.state == TrialState.PRUNED and trial.user_attrs.get("diverged"):
        return "diverged"
    if trial.state == TrialState.RUNNING and trial.user_attrs.get("failed"):
        return "failed"
    return trial.state.name.lower()


def states_of(folder: Path, study: optuna.Study) -> list[tuple[FrozenTrial, str]]:
    """Return all trials, each with its state now: `interrupted` if it is open and its lock is free."""
    with locked(folder / CLAIMS):  # nobody takes a trial or ends one meanwhile
        found = [(trial, state_of(trial)) for trial in trials_of(study)]
        return [(t, "interrupted" if s == "running" and not _is_held(folder, t) else s) for t, s in found]


def ranked(trials: Sequence[FrozenTrial], metric: Metric) -> list[FrozenTrial]:
    """Return the completed trials, the best first."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return sorted(complete, key=lambda trial: metric.rank(trial.values[0]))


def build_sampler(name: str, seed: int, drawn: int) -> BaseSampler:
    """Return the sampler for the next draw; its seed depends on how many were drawn.

    So a sweep that is resumed does not draw the first ones again.
    """
    digest = hashlib.sha256(json.dumps([seed, drawn]).encode()).digest()
    number = int.from_bytes(digest[:4], "big")
    if name == "cmaes":
        return CmaEsSampler(seed=number)
    return TPESampler(seed=number) if name == "tpe" else RandomSampler(seed=number)


def build_pruner(name: str, evaluations: int | None) -> optuna.pruners.BasePruner:
    """Return the pruner; evaluations: the most that a trial has, None if not known. After one, none helps."""
    if evaluations == 1:
        return optuna.pruners.NopPruner()
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=evaluations or "auto")
    return optuna.pruners.MedianPruner() if name == "median" else optuna.pruners.NopPruner()


def _is_held(folder: Path, trial: FrozenTrial) -> bool:
    lock = try_lock(lock_file(folder, trial))
    if lock is not None:
        os.close(lock)
    return lock is None


def lock_file(folder: Path, trial: FrozenTrial) -> Path:
    """Return the file that is locked while a process trains a trial."""
    locks = folder / "locks"
    locks.mkdir(exist_ok=True)
    return locks / f"{folder_of(trial)}.lock"


def folder_of(trial: FrozenTrial) -> str:
    """Return the name of a trial's run folder."""
    attrs = trial.user_attrs
    if "repeats" in attrs:
        return f"trial_{attrs['repeats']:04d}_seed_{attrs['seed']}"
    return f"trial_{trial.number:04d}"
