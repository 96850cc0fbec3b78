"""Where a sweep's trials are recorded, and how a process holds the one that it trains."""

import abc
import contextlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from imclass.config.durations import parse_duration
from imclass.config.metric import Metric
from imclass.config.schema import SweepConfig
from imclass.config.urls import without_password
from imclass.errors import StorageError, first_line
from imclass.sweeps.request import JOURNAL

DatabaseSilent = StorageInternalError  # a database does not answer, or refuses
LostTrial = UpdateFinishedTrialError  # another machine has taken over a trial that this one trains


@dataclass(slots=True)
class Held:
    """The right to train one trial."""

    trial: optuna.Trial
    found: FrozenTrial  # the same, as it was when it was taken
    lock: int | None = None  # descriptor: the right lasts as long as a process has it open


class Store(abc.ABC):
    """The studies of a sweep. A trial here is one configuration, whatever number of attempts it takes."""

    search: optuna.Study
    repeats: optuna.Study

    @abc.abstractmethod
    def exclusive(self) -> contextlib.AbstractContextManager[object]:
        """Within the block, no other process creates, takes or ends a trial, if the store needs that."""

    @abc.abstractmethod
    def trials(self, study: optuna.Study) -> list[FrozenTrial]:
        """Return the trials in the order in which they were begun."""

    @abc.abstractmethod
    def states(self, study: optuna.Study) -> list[tuple[FrozenTrial, str]]:
        """Return all trials, each with its state now: `interrupted` if it is open and nobody holds it."""

    @abc.abstractmethod
    def add(self, study: optuna.Study, number: int, **fields: Any) -> Held | None:
        """Create the trial `number` and take it; None if another process was faster."""

    @abc.abstractmethod
    def take(self, study: optuna.Study, trial: FrozenTrial) -> Held | None:
        """Take an open trial; None if another process holds it."""

    @abc.abstractmethod
    def allow(self, study: optuna.Study, trial: FrozenTrial, failures: int) -> None:
        """Let a trial that has failed be tried again until it has failed more than `failures` times."""

    @abc.abstractmethod
    def release(self, held: Held) -> None:
        """Give back a trial that was interrupted: the next free worker resumes it."""

    def end(self, held: Held, state: str, value: float | None, attributes: Mapping[str, Any]) -> None:
        """Record how a trial ended: complete, pruned, diverged or failed. Raises LostTrial."""
        for key, attribute in attributes.items():
            held.trial.set_user_attr(key, attribute)
        if state == "complete":
            held.trial.study.tell(held.trial, value)
        elif state != "failed":
            held.trial.study.tell(held.trial, state=TrialState.PRUNED)

    def keep(self, held: Held) -> None:  # noqa: B027
        """Show the others that a trial is still held; called often. Raises LostTrial."""

    def take_back(self) -> None:  # noqa: B027
        """Find the trials whose holders are gone without a word."""

    def close(self) -> None:  # noqa: B027
        """Close what connections there are."""

    def about(self, run: Path) -> dict[str, Any]:
        """Return what other machines need to know of the run of a trial that has ended."""
        return {}


def place_of(folder: Path) -> str:
    """Return where a folder is, for people on other machines."""
    return f"{socket.gethostname()}:{folder.absolute()}"


@contextlib.contextmanager
def database_errors_named(storage: str) -> Iterator[None]:
    """Within the block, the silence of a database becomes a StorageError."""
    try:
        yield
    except DatabaseSilent as error:
        raise StorageError(f"{without_password(storage)}: does not answer ({reason_of(error)})") from error


def reason_of(error: BaseException) -> str:
    """Return why a database does not answer, in a line: what its driver says."""
    while error.__cause__ is not None and not hasattr(error, "orig"):
        error = error.__cause__
    return first_line(getattr(error, "orig", None) or error)


def open_store(
    storage: str,
    name: str,
    metric: Metric,
    *,
    folder: Path,
    lost_after: float = parse_duration(SweepConfig().lost_after).value,
    create: bool = True,
) -> Store:
    """Open the studies of the sweep `name`. storage: JOURNAL, or the URL of a database.

    Raises UserError for what cannot be opened, or does not exist and is not to be created.
    """
    if storage == JOURNAL:
        from imclass.sweeps.journal import JournalStore

        return JournalStore(folder, metric)
    from imclass.sweeps.database import DatabaseStore

    return DatabaseStore(storage, name, metric, folder=folder, lost_after=lost_after, create=create)
