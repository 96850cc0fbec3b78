"""Who trains what next: none too many, none twice.

On one machine or several, a free worker takes, in this order: a trial that was interrupted (open in the
study, and nobody holds it), or has failed and may be tried again; a new configuration while the budget lasts;
and once all have ended, one of the best on a fresh seed.
"""

import itertools
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from imclass.sweeps.outcome import Outcome
from imclass.sweeps.request import Request
from imclass.sweeps.space import settings_of
from imclass.sweeps.store import Held, Store
from imclass.sweeps.study import build_pruner, build_sampler, folder_of, ranked, state_of


@dataclass(slots=True)
class Ticket:
    """A trial that this process holds."""

    held: Held
    folder: str  # name of the run folder
    overrides: list[str]  # beside those that all trials share
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

    def __init__(self, request: Request, store: Store):
        self.request, self.store = request, store
        self.search, self.repeats = store.search, store.repeats
        self.search.pruner = build_pruner(request.config.pruner, request.evaluations)
        self.exhausted = False  # the last claim found nothing to take, and nothing running anywhere
        if not request.config.join:
            with store.exclusive():
                self._renew_attempts()

    def _renew_attempts(self) -> None:
        """Grant trials that earlier sessions gave up on `sweep.retries` more attempts, whatever the cause."""
        for study in (self.search, self.repeats):
            for trial in (t for t in self.store.trials(study) if state_of(t) == "failed"):
                failures = trial.user_attrs["failures"] + self.request.config.retries - 1
                self.store.allow(study, trial, failures)

    def claim(self) -> Ticket | None:
        """Take the next trial; None if there is nothing to take at the moment."""
        self.store.take_back()
        with self.store.exclusive():
            ticket = self._open() or self._new() or self._repeat()
            if ticket is None:
                every = [*self.store.trials(self.search), *self.store.trials(self.repeats)]
                self.exhausted = not any(map(self._is_open, every))
            return ticket

    def keep(self, ticket: Ticket) -> None:
        """Show other machines that this one still trains a trial. Raises LostTrial if another does."""
        self.store.keep(ticket.held)

    def report(self, ticket: Ticket, values: list[float]) -> bool:
        """Pass a trial's evaluations so far to the study; return whether to prune it."""
        if ticket.held.trial.study is self.repeats:
            return False
        trial = ticket.held.trial
        while ticket.reported < len(values):
            trial.report(values[ticket.reported], ticket.reported + 1)
            ticket.reported += 1
            if trial.should_prune():
                return True
        return False

    def close(self, ticket: Ticket, outcome: Outcome) -> bool:
        """Record how a trial ended; return whether it failed for good."""
        before = ticket.held.found.user_attrs
        attributes = {**outcome.attributes, **self.store.about(self.request.folder / ticket.folder)}
        if outcome.state == "failed":
            attributes["failures"] = failures = before.get("failures", 0) + 1
            if not outcome.may_retry:
                attributes["failures_allowed"] = failures - 1
            attributes["failed"] = True  # the last to be written: until then, it was interrupted
        self.store.end(ticket.held, outcome.state, outcome.value, attributes)
        return outcome.state == "failed" and not self._may_retry({**before, **attributes})

    def release(self, ticket: Ticket) -> None:
        """Give back a trial that was interrupted: the next free worker resumes it."""
        self.store.release(ticket.held)

    def counts(self) -> Counts:
        config, counts = self.request.config, Counts()
        searched, repeated = map(self.store.states, (self.search, self.repeats))
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
        is_owed = state == "failed" and self._may_retry(trial.user_attrs)
        return is_owed or state in ("running", "interrupted")

    def _open(self) -> Ticket | None:
        for study in (self.search, self.repeats):
            for trial in filter(self._is_open, self.store.trials(study)):
                if (ticket := self._take(study, trial)) is not None:
                    return ticket
        return None

    def _new(self) -> Ticket | None:
        request, drawn = self.request, self.store.trials(self.search)
        while len(drawn) < request.trials:
            held = self.store.add(self.search, len(drawn), **self._draw(drawn))
            if held is not None:
                return self._ticket(self.search, held)
            drawn = self.store.trials(self.search)  # another machine was faster
        return None

    def _draw(self, drawn: list[FrozenTrial]) -> dict[str, Any]:
        """Return the next configuration, as fields of a trial."""
        request = self.request
        distributions = {key: parameter.distribution() for key, parameter in request.space.items()}
        if request.config.sampler == "grid":
            return {"params": _grid_point(request, len(drawn)), "distributions": distributions}
        # Drawn in a copy, and written as one line: a process that is killed leaves no half of a trial.
        sampler = build_sampler(request.config.sampler, request.config.seed, len(drawn))
        copy = optuna.create_study(direction=self.search.direction, sampler=sampler)
        copy.add_trials([trial for trial in drawn if trial.state != TrialState.WAITING])
        copy.ask(distributions)
        trial = copy.trials[-1]
        return {"params": trial.params, "distributions": distributions, "system_attrs": trial.system_attrs}

    def _repeat(self) -> Ticket | None:
        config, searched = self.request.config, self.store.trials(self.search)
        if not config.seeds or any(map(self._is_open, searched)):
            return None
        repeated = self.store.trials(self.repeats)
        done = {(t.user_attrs["repeats"], t.user_attrs["seed"]) for t in repeated}
        best = ranked(searched, self.request.metric)[: config.top]
        fresh = range(self.request.base.seed + 1, self.request.base.seed + 1 + config.seeds)
        for seed, trial in itertools.product(fresh, best):
            if (trial.number, seed) not in done:
                attributes = {"repeats": trial.number, "seed": seed}
                held = self.store.add(self.repeats, len(repeated), user_attrs=attributes)
                if held is not None:
                    return self._ticket(self.repeats, held)
        return None

    def _take(self, study: optuna.Study, found: FrozenTrial) -> Ticket | None:
        """Take an open trial; None if another process holds it."""
        held = self.store.take(study, found)
        return self._ticket(study, held) if held is not None else None

    def _ticket(self, study: optuna.Study, held: Held) -> Ticket:
        trial, attrs, space = held.found, held.found.user_attrs, self.request.space
        if study is self.search:
            overrides = settings_of(trial.params, space)
        else:
            repeated = self.store.trials(self.search)[attrs["repeats"]]
            overrides = [*settings_of(repeated.params, space), f"seed={attrs['seed']}"]
        return Ticket(held, folder_of(trial), overrides, len(trial.intermediate_values))


def _grid_point(request: Request, number: int) -> dict[str, Any]:
    """Return point `number` of the grid: the last parameter changes fastest, as in a multirun."""
    axes = [[p.value(text) for text in p.values] for p in request.space.values()]
    point = next(itertools.islice(itertools.product(*axes), number, None))
    return dict(zip(request.space, point, strict=True))
