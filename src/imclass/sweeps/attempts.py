"""Trials in a database: one Optuna trial for each attempt at a configuration.

Optuna never changes a trial that has ended, and its heartbeat ends the trials of machines that have gone
silent. So each attempt is an Optuna trial of its own, and names the one before it. Nothing is locked: where
two machines create the same attempt at once, the one with the lower number counts, for both.
"""

import copy
from collections.abc import Iterable
from typing import Any

from optuna.trial import FrozenTrial

_KEPT = ("configuration", "repeats", "seed", "failures", "failures_allowed")  # by the next attempt
_RUNG = "completed_rung"  # begins what the pruner recorded of an attempt


def configuration_of(trial: FrozenTrial) -> tuple[int, ...]:
    """Return what a trial is an attempt at: the number of a configuration, or one repeated with a seed."""
    attrs = trial.user_attrs
    if "repeats" in attrs:
        return int(attrs["repeats"]), int(attrs["seed"])
    return (int(attrs["configuration"]),)


def last_attempts(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Return the last attempt at each configuration, with its number, in the order in which they were begun.

    trials: of one study, in the order of their numbers.
    """
    first: dict[tuple[int, ...], FrozenTrial] = {}
    following: dict[int, FrozenTrial] = {}
    for trial in trials:
        after = trial.user_attrs.get("after")
        if after is None:
            first.setdefault(configuration_of(trial), trial)
        else:
            following.setdefault(after, trial)
    found = []
    for number, trial in enumerate(first.values()):
        last = trial
        while last._trial_id in following:
            last = following[last._trial_id]
        found.append(copy.copy(last))
        found[-1].number = number
    return found


def next_attempt(trial: FrozenTrial, **attributes: Any) -> dict[str, Any]:
    """Return what the attempt after `trial` is created with."""
    kept = {key: trial.user_attrs[key] for key in _KEPT if key in trial.user_attrs}
    return {
        "params": trial.params,
        "distributions": trial.distributions,
        "user_attrs": {**kept, "after": trial._trial_id, **attributes},
        "system_attrs": {k: v for k, v in trial.system_attrs.items() if not k.startswith(_RUNG)},
    }
