"""A database for sweeps on many machines: Optuna's own tables, and its heartbeat in place of locks.

Machines share nothing but the database; each keeps the run folders of the trials that it trains.
"""

import contextlib
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage, fail_stale_trials, get_storage
from optuna.trial import FrozenTrial, TrialState

from imclass.config.metric import Metric
from imclass.config.stored import read_settings
from imclass.errors import UserError
from imclass.runs.records import read_metrics
from imclass.sweeps.attempts import configuration_of, last_attempts, next_attempt
from imclass.sweeps.connection import connect, errors_named
from imclass.sweeps.store import Held, LostTrial, Store, place_of
from imclass.sweeps.study import REPEATS, SEARCH, state_of

_BEATS = 8  # heartbeats in the time after which a silent machine has lost its trials


class DatabaseStore(Store):
    """The studies NAME/search and NAME/repeats of a database.

    Whoever trains a trial reports on it every few seconds; a trial that is not reported on for `lost_after`
    seconds is attempted again by another machine.
    """

    def __init__(self, url: str, name: str, metric: Metric, *, folder: Path, lost_after: float, create: bool):
        self._place, self._metric = place_of(folder), metric
        self._pause, self._reported = min(10.0, lost_after / _BEATS), dict[int, float]()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with errors_named(url):
            self._database = database = connect(url, lost_after, create=create)
            self._storage = get_storage(database)
            self.search, self.repeats = (
                _open_study(database, self._storage, f"imclass/{name}/{kind}", metric, create=create)
                for kind in (SEARCH, REPEATS)
            )

    def exclusive(self) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext()

    def trials(self, study: optuna.Study) -> list[FrozenTrial]:
        return last_attempts(study.get_trials(deepcopy=False))

    def states(self, study: optuna.Study) -> list[tuple[FrozenTrial, str]]:
        return [(trial, state_of(trial)) for trial in self.trials(study)]

    def add(self, study: optuna.Study, number: int, **fields: Any) -> Held | None:
        if study is self.search:
            fields["user_attrs"] = {"configuration": number}
        return self._take(study, self._create(study, **fields))

    def take(self, study: optuna.Study, trial: FrozenTrial) -> Held | None:
        if trial.state == TrialState.RUNNING:
            return None
        if trial.state == TrialState.FAIL:
            trial = self._create(study, **next_attempt(trial))
        return self._take(study, trial)

    def allow(self, study: optuna.Study, trial: FrozenTrial, failures: int) -> None:
        if trial.user_attrs["failures"] <= failures:
            self._create(study, **next_attempt(trial, failures_allowed=failures))

    def release(self, held: Held) -> None:
        self._reported.pop(held.trial._trial_id, None)
        with contextlib.suppress(UpdateFinishedTrialError):
            self._storage.set_trial_state_values(held.trial._trial_id, TrialState.FAIL)

    def end(self, held: Held, state: str, value: float | None, attributes: Mapping[str, Any]) -> None:
        number = held.trial._trial_id
        try:
            super().end(held, state, value, attributes)
            if state == "failed":
                self._storage.set_trial_state_values(number, TrialState.FAIL)
        except (UpdateFinishedTrialError, ValueError) as error:  # ValueError: `tell` has noticed it
            ended = self._storage.get_trial(number)
            if ended.state == TrialState.FAIL and not ended.user_attrs.get("failed"):
                raise LostTrial(str(error)) from error
        # Else we have ended it ourselves: the answer to the first time was lost.
        self._reported.pop(number, None)

    def keep(self, held: Held) -> None:
        number, now = held.trial._trial_id, time.monotonic()
        if now - self._reported.get(number, now) < self._pause:
            return
        self._storage.record_heartbeat(number)  # type: ignore[attr-defined]
        self._reported[number] = now
        if self._storage.get_trial(number).state == TrialState.FAIL:
            raise LostTrial

    def take_back(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            for study in (self.search, self.repeats):
                fail_stale_trials(study)

    def close(self) -> None:
        self._database.remove_session()
        self._database.engine.dispose()

    def about(self, run: Path) -> dict[str, Any]:
        about: dict[str, Any] = {"place": self._place}
        with contextlib.suppress(UserError):
            about["settings"] = read_settings(run)
        with contextlib.suppress(UserError):
            points = [r for r in read_metrics(run / "metrics.jsonl") if r["split"] == "val"]
            about["curve"] = [[r["epoch"], r[self._metric.name]] for r in points]
        return about

    def _create(self, study: optuna.Study, **fields: Any) -> FrozenTrial:
        """Create an attempt; return it, or the one that another machine created before."""
        template = optuna.create_trial(state=TrialState.WAITING, **fields)
        mine = self._storage.create_new_trial(study._study_id, template_trial=template)
        wanted = configuration_of(template)
        last = next(trial for trial in self.trials(study) if configuration_of(trial) == wanted)
        if last._trial_id != mine:
            self._storage.set_trial_state_values(mine, TrialState.FAIL)
        return last

    def _take(self, study: optuna.Study, trial: FrozenTrial) -> Held | None:
        """Take an attempt that waits; None if it does not, or if another machine is faster."""
        if trial.state != TrialState.WAITING:
            return None
        number = trial._trial_id
        self._storage.record_heartbeat(number)  # type: ignore[attr-defined]  # first: if we die now, it is missed
        try:
            if not self._storage.set_trial_state_values(number, TrialState.RUNNING):
                return None
        except UpdateFinishedTrialError:
            return None
        self._reported[number] = time.monotonic()
        self._storage.set_trial_user_attr(number, "place", self._place)
        return Held(optuna.Trial(study, number), trial)


def _open_study(
    database: RDBStorage, storage: BaseStorage, name: str, metric: Metric, *, create: bool
) -> optuna.Study:
    """Open a study. Raises UserError where it does not exist, unless it is to be created."""
    if not create:
        try:
            return optuna.load_study(study_name=name, storage=storage)
        except KeyError as error:
            raise UserError(f"{database.engine.url}: has no study {name}") from error
    return optuna.create_study(
        storage=storage,
        study_name=name,
        direction="maximize" if metric.maximize else "minimize",
        pruner=optuna.pruners.NopPruner(),
        load_if_exists=True,
    )
