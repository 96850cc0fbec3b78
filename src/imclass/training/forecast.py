"""What a training will take, and what it will do when: by a short probe, before anything is trained."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from imclass.config.durations import clock
from imclass.config.plan import Plan
from imclass.config.schema import Config
from imclass.errors import counted
from imclass.training.banner import about
from imclass.training.build import build_data, build_setup, find_device, with_measured_steps
from imclass.training.pace import Pace, measure_pace
from imclass.training.setup import Setup

LOGS = 5_000_000  # bytes: plots, pages and logs of a short run


@dataclass(frozen=True, slots=True)
class Forecast:
    """A training that is built, and what is known of it. lines: for people."""

    setup: Setup
    lines: list[str]
    rates: list[float]  # of each step
    evaluated: list[int]  # the steps that an evaluation follows


def forecast(config: Config) -> Forecast:
    """Build what `config` trains, and measure some steps of it. Raises UserError as a training does."""
    data = build_data(config)
    device = find_device(config, data)
    config, notes = with_measured_steps(config, data, device)
    setup = build_setup(config, data, device)
    rates = [config.optimizer.lr * setup.learner.schedule.factor(step) for step in range(setup.plan.steps)]
    pace = measure_pace(setup)
    lines = [*about(config, data, setup), *notes, *_costs(setup, pace)]
    return Forecast(setup, lines, rates, _evaluated(setup.plan))


def _evaluated(plan: Plan) -> list[int]:
    return [min(number * plan.eval_every, plan.steps) for number in range(1, plan.evaluations + 1)]


def _costs(setup: Setup, pace: Pace) -> list[str]:
    """Return the lines on evaluations, time, memory and disk."""
    plan, val, test = setup.plan, len(setup.val), len(setup.test)
    seconds = pace.seconds(plan) + pace.evaluation * test / val
    every = f", every {counted(plan.eval_every, 'step')}" if plan.evaluations > 1 else ""
    each = ", ".join(
        f"{step:.3g} s{f' at {side} pixels' if side else ''}" for side, step in pace.step.items()
    )
    needed, folder = disk_bytes(setup), Path(setup.config.output_dir).absolute()
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.is_dir())).free
    short = "" if needed < free else ": TOO LITTLE"
    return [
        f"evaluate {counted(plan.evaluations, 'time')}{every}, on {counted(val, 'image')}",
        f"time     about {clock(seconds)}: steps of {each}, evaluations of {pace.evaluation:.3g} s "
        "(by a short probe)",
        f"memory   {setup.device.peak_memory_bytes() / 1e9:.2g} GB so far",
        f"disk     up to {needed / 1e6:,.0f} MB; {free / 1e9:,.1f} GB are free{short}",
    ]


def disk_bytes(setup: Setup) -> int:
    """Return the most that a run takes: while last.pt is replaced, there are three of it.

    Call it after a step: before, the optimizer has no state.
    """
    learner = setup.learner
    model = _bytes(learner.model.state_dict())
    whole = model + _bytes(learner.optimizer.state_dict()) + _bytes(learner.ema.state_dict())
    return 3 * whole + 2 * model + LOGS


def _bytes(state: Any) -> int:
    """Return the size of all tensors in a tree of dicts and lists."""
    if isinstance(state, Tensor):
        return state.nbytes
    if isinstance(state, dict):
        return sum(map(_bytes, state.values()))
    return sum(map(_bytes, state)) if isinstance(state, list) else 0
