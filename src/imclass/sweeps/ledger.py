"""Who runs what next: trials are created and taken under a lock: none too many, none run twice.

The rule, for one machine or several: whoever is free takes, in this order, a trial that was interrupted
(running in the study, but no process holds its lock), a failed one that is owed another attempt, a new
configuration while the budget lasts, and, once all are done, the best ones on fresh seeds.
"""

import itertools
import os
from dataclasses import dataclass, field
from typing import Any

from optuna.pruners import NopPruner
from optuna.trial import Trial, TrialState

from imclass.runs.locks import locked, try_lock
from imclass.sweeps.outcome import Outcome
from imclass.sweeps.request import CLAIMS, Request
from imclass.sweeps.space import settings_of
from imclass.sweeps.study import (
    REPEATS,
    SEARCH,
    Configuration,
    add_running,
    build_pruner,
    build_sampler,
    configurations,
    folder_of,
    lock_file,
    open_study,
    ranked,
    with_states,
)

# Of a study: {number of a failed trial: its attempts}, from when the last session began that has not joined.
GIVEN_UP = "given_up"


@dataclass(slots=True)
class Ticket:
    """The right to run one trial, for as long as a process has `lock` open."""

    kind: str  # SEARCH, REPEATS
    original: int  # Optuna's number of the first attempt
    folder: str  # name of the run folder
    overrides: list[str]  # beside those that all trials share
    lock: int  # descriptor
    trial: Trial
    reported: int  # evaluations that the study knows


@dataclass(slots=True)
class Counts:
    """How far a sweep is. total: configurations, repetitions included as far as they are known.

    interrupted: begun, and trained by no process at the moment.
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
        self.studies = {kind: open_study(request.folder, kind, config.metric) for kind in (SEARCH, REPEATS)}
        self.studies[SEARCH].pruner = build_pruner(config.pruner, request.evaluations)
        self.exhausted = False  # the last claim found nothing to take, and nothing running anywhere
        if not config.join:  # a new session: what an earlier one gave up gets its attempts again
            for study in self.studies.values():
                failed = {
                    str(c.origin): len(c.attempts) for c in configurations(study) if c.state == "failed"
                }
                study.set_user_attr(GIVEN_UP, failed)

    def claim(self) -> Ticket | None:
        """Take the next trial; None if there is nothing to take at the moment."""
        with locked(self.request.folder / CLAIMS):
            busy = self.is_busy()  # before looking: what ends meanwhile may leave more to do
            for source in (self._interrupted, self._retry, self._new, self._repeat):
                ticket = source()
                if ticket is not None:
                    return ticket
            self.exhausted = not busy
        return None

    def report(self, ticket: Ticket, values: list[float]) -> bool:
        """Tell the study a trial's evaluations so far; return True when it is to be pruned."""
        if ticket.kind == REPEATS:
            return False
        while ticket.reported < len(values):
            ticket.reported += 1
            ticket.trial.report(values[ticket.reported - 1], ticket.reported)
            if ticket.trial.should_prune():
                return True
        return False

    def close(self, ticket: Ticket, outcome: Outcome) -> bool:
        """Write down how a trial ended; return True when it failed and is not tried again."""
        ends = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL}
        state = ends.get(outcome.state, TrialState.PRUNED)
        value = outcome.value if state == TrialState.COMPLETE else None
        with locked(self.request.folder / CLAIMS):  # for who takes trials, its end and its lock go together
            for key, attribute in (outcome.attributes | {"may_retry": outcome.may_retry}).items():
                ticket.trial.set_user_attr(key, attribute)
            self.studies[ticket.kind].tell(ticket.trial, value, state=state)
            self.release(ticket)
        found = next(c for c in configurations(self.studies[ticket.kind]) if c.origin == ticket.original)
        return outcome.state == "failed" and not self._is_owed(ticket.kind, found)

    def release(self, ticket: Ticket) -> None:
        """Give a trial back that was interrupted: whoever is free next goes on with it."""
        os.close(ticket.lock)

    def counts(self) -> Counts:
        counts = Counts()
        found = {kind: with_states(self.request.folder, study) for kind, study in self.studies.items()}
        for configuration, state in itertools.chain(*found.values()):
            name = {"diverged": "pruned"}.get(state, state)
            setattr(counts, name, getattr(counts, name) + 1)
            if configuration.state != "running":
                counts.seconds.append(configuration.last.user_attrs.get("seconds", 0.0))
        config = self.request.config
        repeats = min(config.top, self.request.trials) * config.seeds
        counts.total = max(len(found[SEARCH]), self.request.trials) + max(len(found[REPEATS]), repeats)
        best = ranked([configuration for configuration, _ in found[SEARCH]], config.metric)
        counts.best = best[0].value if best else None
        return counts

    def is_busy(self) -> bool:
        """Tell whether a trial is running, here or elsewhere."""
        return any(c.state == "running" for s in self.studies.values() for c in configurations(s))

    def _is_owed(self, kind: str, found: Configuration) -> bool:
        """Tell whether a failed trial is to be tried again. The study counts, for all who share the sweep.

        A trial has sweep.retries further attempts, and as many each time that a session begins that has not
        joined others. Only by that is one tried again whose settings were refused.
        """
        if found.state != "failed":
            return False
        tried = len(found.attempts)
        given_up = self.studies[kind].user_attrs.get(GIVEN_UP, {}).get(str(found.origin), 0)
        may_retry = found.last.user_attrs.get("may_retry", True) or tried == given_up
        return may_retry and tried < max(1, given_up) + self.request.config.retries

    def _interrupted(self) -> Ticket | None:
        for kind, study in self.studies.items():
            for found in configurations(study):
                ticket = self._take(kind, found) if found.state == "running" else None
                if ticket is not None:
                    return ticket
        return None

    def _retry(self) -> Ticket | None:
        for kind, study in self.studies.items():
            for found in configurations(study):
                if self._is_owed(kind, found):
                    origin = {k: v for k, v in found.last.user_attrs.items() if k in ("repeats", "seed")}
                    origin["retry_of"] = found.origin
                    add_running(study, origin, found.last.params, found.last.distributions)
                    return self._newest(kind)
        return None

    def _new(self) -> Ticket | None:
        study, request = self.studies[SEARCH], self.request
        drawn = len(configurations(study))
        if drawn >= request.trials:
            return None
        distributions = {key: parameter.distribution() for key, parameter in request.space.items()}
        if request.config.sampler == "grid":
            add_running(study, {}, _grid_point(request, drawn), distributions)
        else:
            study.sampler = build_sampler(request.config.sampler, request.config.seed, drawn)
            pruner, study.pruner = study.pruner, NopPruner()  # Hyperband shows a sampler its own bracket only
            study.ask(distributions)
            study.pruner = pruner
        return self._newest(SEARCH)

    def _repeat(self) -> Ticket | None:
        config, study = self.request.config, self.studies[REPEATS]
        searched = configurations(self.studies[SEARCH])
        if not config.seeds or any(c.state == "running" or self._is_owed(SEARCH, c) for c in searched):
            return None
        done = {(c.last.user_attrs["repeats"], c.last.user_attrs["seed"]) for c in configurations(study)}
        best = ranked(searched, config.metric)[: config.top]
        fresh = range(self.request.base.seed + 1, self.request.base.seed + 1 + config.seeds)
        for seed, configuration in itertools.product(fresh, best):
            if (configuration.number, seed) not in done:
                add_running(study, {"repeats": configuration.number, "seed": seed})
                return self._newest(REPEATS)
        return None

    def _newest(self, kind: str) -> Ticket:
        """Take the trial that was created just now."""
        found = configurations(self.studies[kind])
        ticket = self._take(kind, max(found, key=lambda c: c.last.number))
        assert ticket is not None, "another process holds the lock of a trial that was created just now"
        return ticket

    def _take(self, kind: str, found: Configuration) -> Ticket | None:
        """Lock a configuration whose last attempt is running; None if its process lives."""
        folder, attrs = folder_of(found), found.last.user_attrs
        lock = try_lock(lock_file(self.request.folder, found))
        if lock is None:
            return None
        trial = Trial(self.studies[kind], found.last._trial_id)
        space = self.request.space
        if kind == SEARCH:
            for parameter in space.values():
                parameter.draw(trial)
            overrides = settings_of(trial.params, space)
        else:
            repeated = configurations(self.studies[SEARCH])[attrs["repeats"]]
            overrides = [*settings_of(repeated.last.params, space), f"seed={attrs['seed']}"]
        reported = len(found.last.intermediate_values)
        return Ticket(kind, found.origin, folder, overrides, lock, trial, reported)


def _grid_point(request: Request, number: int) -> dict[str, Any]:
    """Return point `number` of the grid: the last parameter changes fastest, as in a multirun."""
    axes = [[p.value(text) for text in p.values] for p in request.space.values()]
    return dict(
        zip(request.space, next(itertools.islice(itertools.product(*axes), number, None)), strict=True)
    )
