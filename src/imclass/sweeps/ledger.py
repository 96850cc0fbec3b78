"""Who trains what next. Trials are created and claimed under a lock: none too many, none twice.

On one machine or several, a free worker takes, in this order: a trial that was interrupted (open in the
study, its lock free), or has failed and may be tried again; a new configuration while the budget lasts; and
once all have ended, one of the best on a fresh seed.
"""

import itertools
import os
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from imclass.runs.locks import locked, try_lock
from imclass.sweeps.outcome import Outcome
from imclass.sweeps.request import CLAIMS, Request
from imclass.sweeps.space import settings_of
from imclass.sweeps.study import (
    REPEATS,
    SEARCH,
    build_pruner,
    build_sampler,
    folder_of,
    lock_file,
    open_study,
    ranked,
    state_of,
    states_of,
    trials_of,
)


@dataclass(slots=True)
class Ticket:
    """The right to run one trial, for as long as a process has `lock` open."""

    trial: optuna.Trial
    folder: str  # name of the run folder
    overrides: list[str]  # beside those that all trials share
    lock: int  # descriptor
    reported: int  # evaluations that the study has


@dataclass(slots=True)
class Counts:
    """How far a sweep is. total: configurations, and repetitions as far as they are known.

    interrupted: begun, and not being trained at the moment.
    """

    complete: int = 0
    pruned: int = 0
    failed: int = 0
    running: int = 0
    interrupted: int = 0
    total: int = 0
    seconds: list[float] = field(default_factory=list)  # of each trial that has ended
    best: float | None = None

    @property
    def ended(self) -> int:
        return self.complete + self.pruned + self.failed


class Ledger:
    """The studies of a sweep, and what they still lack."""

    def __init__(self, request: Request):
        self.request, config = request, request.config
        self.search, self.repeats = (open_study(request.folder, k, request.metric) for k in (SEARCH, REPEATS))
        self.search.pruner = build_pruner(config.pruner, request.evaluations)
        self.exhausted = False  # the last claim found nothing to take, and nothing running anywhere
        if not config.join:
            with locked(request.folder / CLAIMS):
                self._renew_attempts()

    def _renew_attempts(self) -> None:
        """Grant trials that earlier sessions gave up on `sweep.retries` more attempts, whatever the cause."""
        for study in (self.search, self.repeats):
            for trial in (t for t in trials_of(study) if state_of(t) == "failed"):
                allowed = trial.user_attrs["failures"] + self.request.config.retries - 1
                optuna.Trial(study, trial._trial_id).set_user_attr("failures_allowed", allowed)

    def claim(self) -> Ticket | None:
        """Take the next trial; None if there is nothing to take at the moment."""
        with locked(self.request.folder / CLAIMS):
            ticket = self._open() or self._new() or self._repeat()
            if ticket is None:
                every = [*trials_of(self.search), *trials_of(self.repeats)]
                self.exhausted = all(state_of(trial) != "running" for trial in every)
            return ticket

    def report(self, ticket: Ticket, values: list[float]) -> bool:
        """Pass a trial's evaluations so far to the study; return whether to prune it."""
        if ticket.trial.study is self.repeats:
            return False
        while ticket.reported < len(values):
            ticket.reported += 1
            ticket.trial.report(values[ticket.reported - 1], ticket.reported)
            if ticket.trial.should_prune():
                return True
        return False

    def close(self, ticket: Ticket, outcome: Outcome) -> bool:
        """Record how a trial ended; return whether it failed for good."""
        trial, attributes = ticket.trial, dict(outcome.attributes)
        with locked(self.request.folder / CLAIMS):  # for who takes trials, its end and its lock go together
            if outcome.state == "failed":
                attributes["failures"] = failures = trial.user_attrs.get("failures", 0) + 1
                if not outcome.may_retry:
                    attributes["failures_allowed"] = failures - 1
                attributes["failed"] = True  # the last to be written: until then, it was interrupted
            for key, attribute in attributes.items():
                trial.set_user_attr(key, attribute)
            if outcome.state == "complete":
                trial.study.tell(trial, outcome.value)
            elif outcome.state != "failed":
                trial.study.tell(trial, state=TrialState.PRUNED)
            self.release(ticket)
        return outcome.state == "failed" and not self._may_retry(trial.user_attrs)

    def release(self, ticket: Ticket) -> None:
        """Give back a trial that was interrupted: the next free worker resumes it."""
        os.close(ticket.lock)

    def counts(self) -> Counts:
        config, counts = self.request.config, Counts()
        searched, repeated = (states_of(self.request.folder, study) for study in (self.search, self.repeats))
        for trial, state in (*searched, *repeated):
            name = {"diverged": "pruned"}.get(state, state)
            setattr(counts, name, getattr(counts, name) + 1)
            if state not in ("running", "interrupted"):
                counts.seconds.append(trial.user_attrs.get("seconds", 0.0))
        repeats = min(config.top, self.request.trials) * config.seeds
        counts.total = max(len(searched), self.request.trials) + max(len(repeated), repeats)
        best = ranked([trial for trial, _ in searched], self.request.metric)
        counts.best = best[0].value if best else None
        return counts

    def _may_retry(self, attributes: dict[str, Any]) -> bool:
        """Return whether a trial that failed is to be tried again; the study counts, for all who share it."""
        allowed: int = attributes.get("failures_allowed", self.request.config.retries)
        return bool(attributes["failures"] <= allowed)

    def _is_open(self, trial: FrozenTrial) -> bool:
        """Return whether a trial has not ended: it runs, was interrupted, or is to be tried again."""
        state = state_of(trial)
        return state == "running" or (state == "failed" and self._may_retry(trial.user_attrs))

    def _open(self) -> Ticket | None:
        for study in (self.search, self.repeats):
            for trial in filter(self._is_open, trials_of(study)):
                if (ticket := self._take(study, trial)) is not None:
                    return ticket
        return None

    def _new(self) -> Ticket | None:
        study, request = self.search, self.request
        drawn = len(trials_of(study))
        if drawn >= request.trials:
            return None
        distributions = {key: parameter.distribution() for key, parameter in request.space.items()}
        if request.config.sampler == "grid":
            return self._add(study, params=_grid_point(request, drawn), distributions=distributions)
        # Drawn in a copy, and written as one line: a process that is killed leaves no half of a trial.
        sampler = build_sampler(request.config.sampler, request.config.seed, drawn)
        copy = optuna.create_study(direction=study.direction, sampler=sampler)
        copy.add_trials(trials_of(study))
        copy.ask(distributions)
        trial = copy.trials[-1]
        return self._add(
            study, params=trial.params, distributions=distributions, system_attrs=trial.system_attrs
        )

    def _repeat(self) -> Ticket | None:
        config, searched = self.request.config, trials_of(self.search)
        if not config.seeds or any(map(self._is_open, searched)):
            return None
        done = {(t.user_attrs["repeats"], t.user_attrs["seed"]) for t in trials_of(self.repeats)}
        best = ranked(searched, self.request.metric)[: config.top]
        fresh = range(self.request.base.seed + 1, self.request.base.seed + 1 + config.seeds)
        for seed, trial in itertools.product(fresh, best):
            if (trial.number, seed) not in done:
                return self._add(self.repeats, user_attrs={"repeats": trial.number, "seed": seed})
        return None

    def _add(self, study: optuna.Study, **fields: Any) -> Ticket:
        """Create a trial and take it."""
        study.add_trial(optuna.create_trial(state=TrialState.RUNNING, **fields))
        ticket = self._take(study, trials_of(study)[-1])
        assert ticket is not None, "another process holds the lock of a trial that was created just now"
        return ticket

    def _take(self, study: optuna.Study, found: FrozenTrial) -> Ticket | None:
        """Lock an open trial; None if another process holds it."""
        lock = try_lock(lock_file(self.request.folder, found))
        if lock is None:
            return None
        trial, space = optuna.Trial(study, found._trial_id), self.request.space
        if found.user_attrs.get("failed"):
            trial.set_user_attr("failed", False)
        attrs = found.user_attrs
        if study is self.search:
            overrides = settings_of(found.params, space)
        else:
            repeated = trials_of(self.search)[attrs["repeats"]]
            overrides = [*settings_of(repeated.params, space), f"seed={attrs['seed']}"]
        return Ticket(trial, folder_of(found), overrides, lock, len(found.intermediate_values))


def _grid_point(request: Request, number: int) -> dict[str, Any]:
    """Return point `number` of the grid: the last parameter changes fastest, as in a multirun."""
    axes = [[p.value(text) for text in p.values] for p in request.space.values()]
    point = next(itertools.islice(itertools.product(*axes), number, None))
    return dict(zip(request.space, point, strict=True))
