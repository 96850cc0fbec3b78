"""What a study records of each trial, and Optuna's samplers and pruners.

A study has Optuna trials; where they are kept, and who trains which, is the business of a store.
"""

import hashlib
import json
from collections.abc import Sequence

import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from imclass.config.metric import Metric

SEARCH, REPEATS = "search", "repeats"  # the two studies of a sweep


def state_of(trial: FrozenTrial) -> str:
    """Return complete, pruned, diverged, failed, interrupted or running."""
    if trial.state == TrialState.PRUNED and trial.user_attrs.get("diverged"):
        return "diverged"
    if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
        return trial.state.name.lower()
    if trial.user_attrs.get("failed"):
        return "failed"
    return "running" if trial.state == TrialState.RUNNING else "interrupted"


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


def folder_of(trial: FrozenTrial) -> str:
    """Return the name of a trial's run folder."""
    attrs = trial.user_attrs
    if "repeats" in attrs:
        return f"trial_{attrs['repeats']:04d}_seed_{attrs['seed']}"
    return f"trial_{trial.number:04d}"
