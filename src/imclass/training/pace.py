"""How long steps and evaluations take on this machine, by a short probe, and so a whole training."""

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from imclass.config.plan import Plan
from imclass.evaluation.evaluate import logits_of
from imclass.machine.device import Device
from imclass.training.setup import Setup

WARM_UP = 2  # steps; the first sets up kernels and memory
STEPS, LEAST = 20, 3  # that are measured: fewer, but not below LEAST, where they take too long
BATCHES = 3  # that are evaluated
SECONDS = 10.0  # too long for the steps of a side


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of a step, by the side in pixels of its images as in `Plan.side`, and of an evaluation.

    features: seconds for those that are computed once.
    """

    step: Mapping[int | None, float]
    evaluation: float
    features: float = 0.0

    def seconds(self, plan: Plan) -> float:
        """Return the time of a whole training: of its features, its steps and its evaluations."""
        total, start = self.features + plan.evaluations * self.evaluation, 0
        for until, side in plan.resolutions:
            total += (until - start) * self.step[side]
            start = until
        return total + (plan.steps - start) * self.step[None]


def measure_pace(setup: Setup, seconds: float = SECONDS) -> Pace:
    """Take some steps at each side, and evaluate some batches; the model is to be discarded.

    seconds: after which no more steps are taken.
    """
    sides = [None, *sorted({side for _, side in setup.plan.resolutions})]  # in one order on all ranks
    features = _seconds_of_features(setup)
    setup.learner.model.train()
    steps = {side: _seconds_of_step(setup, side, seconds) for side in sides}
    return Pace(steps, _seconds_of_evaluation(setup), features)


def _seconds_of_features(setup: Setup) -> float:
    """Return the seconds for what a probe computes when it asks for its first batches."""
    if not setup.learner.part:
        return 0.0
    start = _now(setup.device)
    setup.loader.batch(0)
    next(iter(setup.val))
    return _now(setup.device) - start


def _seconds_of_step(setup: Setup, side: int | None, seconds: float) -> float:
    learner, processes = setup.learner, setup.device.processes
    start = 0.0
    for step in itertools.count():
        if step == WARM_UP:
            start = _now(setup.device)
        taken = step - WARM_UP
        if taken >= LEAST:
            slow = int(_now(setup.device) - start > seconds)  # ranks must take the same steps
            if taken >= STEPS or processes.all_reduce_max(slow) == [1]:
                break
        learner.backward(*setup.loader.batch(step, side), step)
        learner.step(setup.plan.max_norm)
    return (_now(setup.device) - start) / taken


def _seconds_of_evaluation(setup: Setup) -> float:
    """Return the seconds for this rank's share of the validation images."""
    setup.learner.model.eval()
    model, loader = setup.learner.trained, setup.val
    logits_of(model, next(iter(loader))[0], setup.device)  # warms up
    start, seen = _now(setup.device), 0
    for images, _ in itertools.islice(loader, BATCHES):
        logits_of(model, images, setup.device)
        seen += len(images)
    return (_now(setup.device) - start) / max(seen, 1) * len(loader) / loader.processes.size


def _now(device: Device) -> float:
    """Return the clock, once the device has done what it was given."""
    if device.device.type == "cuda":
        torch.cuda.synchronize(device.device)
    return time.monotonic()
