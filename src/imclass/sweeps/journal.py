"""Optuna's journal, a file in the sweep's folder, and the locks by which processes hold its trials.

Optuna never changes a trial that has ended. One that failed may be tried again, so it stays open in the
study, with the attribute `failed`; like any open trial, it is trained while a process holds its lock.
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from imclass.config.metric import Metric
from imclass.errors import UserError
from imclass.runs.locks import locked, try_lock
from imclass.runs.log_file import require_writable
from imclass.sweeps.request import CLAIMS
from imclass.sweeps.store import Held, Store
from imclass.sweeps.study import REPEATS, SEARCH, folder_of, state_of


class JournalStore(Store):
    """A journal. Trials are created and claimed under a lock: none too many, none twice."""

    def __init__(self, folder: Path, metric: Metric):
        self._folder = folder
        self.search, self.repeats = (open_study(folder, kind, metric) for kind in (SEARCH, REPEATS))

    def exclusive(self) -> contextlib.AbstractContextManager[object]:
        return locked(self._folder / CLAIMS)

    def trials(self, study: optuna.Study) -> list[FrozenTrial]:
        return study.get_trials(deepcopy=False)

    def states(self, study: optuna.Study) -> list[tuple[FrozenTrial, str]]:
        with self.exclusive():
            found = [(trial, state_of(trial)) for trial in self.trials(study)]
            return [(t, "interrupted" if s == "running" and not self._is_held(t) else s) for t, s in found]

    def add(self, study: optuna.Study, number: int, **fields: Any) -> Held:
        study.add_trial(optuna.create_trial(state=TrialState.RUNNING, **fields))
        held = self.take(study, self.trials(study)[-1])
        assert held is not None, "another process holds the lock of a trial that was created just now"
        return held

    def take(self, study: optuna.Study, trial: FrozenTrial) -> Held | None:
        lock = try_lock(self._lock_file(trial))
        if lock is None:
            return None
        taken = optuna.Trial(study, trial._trial_id)
        if trial.user_attrs.get("failed"):
            taken.set_user_attr("failed", False)
        return Held(taken, trial, lock)

    def allow(self, study: optuna.Study, trial: FrozenTrial, failures: int) -> None:
        optuna.Trial(study, trial._trial_id).set_user_attr("failures_allowed", failures)

    def release(self, held: Held) -> None:
        assert held.lock is not None
        os.close(held.lock)

    def end(self, held: Held, state: str, value: float | None, attributes: Mapping[str, Any]) -> None:
        with self.exclusive():  # for who takes trials, its end and its lock go together
            super().end(held, state, value, attributes)
            self.release(held)

    def _is_held(self, trial: FrozenTrial) -> bool:
        lock = try_lock(self._lock_file(trial))
        if lock is not None:
            os.close(lock)
        return lock is None

    def _lock_file(self, trial: FrozenTrial) -> Path:
        """Return the file that is locked while a process trains a trial."""
        locks = self._folder / "locks"
        locks.mkdir(exist_ok=True)
        return locks / f"{folder_of(trial)}.lock"


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


class JournalLock(JournalFileOpenLock):
    """A lock of the operating system, in place of a file that outlives a killed holder by 30 s.

    It mends what a killed writer left behind.
    """

    def __init__(self, journal: Path):
        super().__init__(str(journal))
        self._journal, self._held = journal, contextlib.ExitStack()

    def acquire(self) -> bool:
        """Wait for the lock, and cut off a last line without an end: its writer died, and nobody read it."""
        self._held.enter_context(locked(self._journal.with_suffix(".lock")))
        with self._journal.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            if file.read() not in (b"\n", b""):
                file.truncate(self._journal.read_bytes().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self._held.close()
