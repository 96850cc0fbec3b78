"""train.budget: as many steps as take a given time, by a short probe on this machine."""

import bisect
import time

from imclass.config.budget import with_steps
from imclass.config.durations import clock, parse_duration
from imclass.config.plan import Plan
from imclass.config.schema import Config
from imclass.errors import counted
from imclass.training.pace import SECONDS, Pace, measure_pace
from imclass.training.setup import Setup


def within_budget(setup: Setup) -> tuple[Config, list[str]]:
    """Return the configuration with the steps that train.budget has time for, and lines that say so.

    From then on these steps are the length of the run: it resumes exactly, on any machine. setup: of the run,
    to be discarded afterwards, as its model has been trained.
    """
    config = setup.config
    budget = parse_duration(config.train.budget).value
    start = time.monotonic()
    pace = measure_pace(setup, min(SECONDS, budget / 100))
    left = budget - (time.monotonic() - start)
    steps = setup.device.processes.broadcast(lambda: steps_within(left, pace, setup))
    config = with_steps(config, steps)
    plan = Plan.of(config, setup.loader.steps_per_epoch)
    seconds = f"{counted(steps, 'step')} of {pace.step[None]:.3g} s"
    evaluations = f"{counted(plan.evaluations, 'evaluation')} of {pace.evaluation:.3g} s"
    return config, [f"budget   {clock(budget)}: {seconds}, {evaluations}, by a probe"]


def steps_within(seconds: float, pace: Pace, setup: Setup) -> int:
    """Return how many steps, with their evaluations, take `seconds`; at least 1."""
    per_epoch = setup.loader.steps_per_epoch
    most = int(seconds / min(pace.step.values())) + 1

    def takes(steps: int) -> float:
        return pace.seconds(Plan.of(with_steps(setup.config, steps), per_epoch))

    return max(1, bisect.bisect_right(range(1, most + 1), seconds, key=takes))
