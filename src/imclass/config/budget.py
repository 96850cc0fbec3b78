"""train.budget of a run that exists: its steps were measured once, and are those of the run since."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from imclass.config.durations import parse_duration
from imclass.config.schema import Config


def with_steps_of_run(config: Config, stored: Mapping[str, Any]) -> Config:
    """Return the configuration with the steps that its run has; for another budget, as many times more.

    stored: the run's own settings, {'train.steps': 500, ...}.
    """
    before, steps, train = stored.get("train.budget"), stored.get("train.steps"), config.train
    if not (before and steps and train.budget) or train.steps not in (None, steps):
        return config
    longer = parse_duration(train.budget).value / parse_duration(before).value
    return with_steps(config, max(1, round(steps * longer)))


def with_steps(config: Config, steps: int) -> Config:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, steps=steps))
