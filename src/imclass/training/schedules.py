"""Learning rates as pure functions of the step; only `plateau` also remembers what it saw."""

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from imclass.config.durations import parse_duration
from imclass.config.schema import SchedulerConfig

Factor = Callable[[int], float]  # step (0 is the first) -> factor of the base learning rate


def cosine(warmup: int, steps: int, final: float) -> Factor:
    """Linear warm-up, then half a cosine from 1 to `final` (arXiv:1608.03983)."""
    return lambda step: _ramp(step, warmup) * _between(1, final, _cosine(_progress(step, warmup, steps)))


def linear(warmup: int, steps: int, final: float) -> Factor:
    """Linear warm-up, then a straight line from 1 to `final`."""
    return lambda step: _ramp(step, warmup) * _between(1, final, _progress(step, warmup, steps))


def onecycle(warmup: int, steps: int, final: float) -> Factor:
    """A cosine from 1/25 up to 1 during the warm-up, then a cosine down to `final` (arXiv:1708.07120)."""

    def factor(step: int) -> float:
        if step < warmup:
            return _between(1 / 25, 1, _cosine(step / warmup))
        return _between(1, final, _cosine(_progress(step, warmup, steps)))

    return factor


def constant(warmup: int) -> Factor:
    """Linear warm-up, then 1."""
    return lambda step: _ramp(step, warmup)


def multistep(warmup: int, milestones: list[int], gamma: float) -> Factor:
    """Linear warm-up; from each milestone on the rate is multiplied by `gamma`."""
    return lambda step: _ramp(step, warmup) * gamma ** sum(step >= m for m in milestones)


def _ramp(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def _progress(step: int, warmup: int, steps: int) -> float:
    """Return 0 at the end of the warm-up and 1 at the last step, clamped for a training made longer."""
    return min(1.0, max(0.0, (step - warmup) / max(1, steps - 1 - warmup)))


def _cosine(progress: float) -> float:
    return (1 - math.cos(math.pi * progress)) / 2


def _between(start: float, end: float, position: float) -> float:
    return start + (end - start) * position


class Plateau:
    """Multiplies the rate by `gamma` after `patience` evaluations in a row without a better metric."""

    def __init__(self, gamma: float, patience: int):
        self.gamma, self.patience = gamma, patience
        self.scale, self.waited = 1.0, 0

    def observe(self, improved: bool) -> None:
        self.waited = 0 if improved else self.waited + 1
        if self.waited >= self.patience:
            self.scale, self.waited = self.scale * self.gamma, 0


class Schedule:
    """Sets the learning rate of every parameter group to its own `initial_lr` times a factor."""

    def __init__(self, factor: Factor, plateau: Plateau | None = None):
        self._factor, self._plateau = factor, plateau

    def factor(self, step: int) -> float:
        """Return what the base learning rate is multiplied by at `step`."""
        return self._factor(step) * (self._plateau.scale if self._plateau else 1.0)

    def apply(self, optimizer: Optimizer, step: int) -> None:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self.factor(step)

    def observe(self, improved: bool) -> None:
        """Take note of an evaluation: was it the best so far?"""
        if self._plateau:
            self._plateau.observe(improved)

    def state_dict(self) -> dict[str, Any]:
        return {"scale": self._plateau.scale, "waited": self._plateau.waited} if self._plateau else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._plateau:
            self._plateau.scale, self._plateau.waited = state["scale"], state["waited"]


def build_schedule(config: SchedulerConfig, *, steps: int, steps_per_epoch: int) -> Schedule:
    """Build the schedule of a training of `steps` steps."""

    def in_steps(duration: object) -> int:
        return parse_duration(duration).steps(steps_per_epoch, steps)

    warmup = in_steps(config.warmup)
    gamma, final = config.gamma or 1.0, config.final or 0.0

    milestones = [in_steps(milestone) for milestone in config.milestones or []]

    def step_drops() -> list[int]:
        size = max(1, in_steps(config.step_size))
        return list(range(size, steps + size, size))

    schedules: dict[str, Callable[[], Schedule]] = {
        "constant": lambda: Schedule(constant(warmup)),
        "cosine": lambda: Schedule(cosine(warmup, steps, final)),
        "linear": lambda: Schedule(linear(warmup, steps, final)),
        "onecycle": lambda: Schedule(onecycle(warmup, steps, final)),
        "step": lambda: Schedule(multistep(warmup, step_drops(), gamma)),
        "multistep": lambda: Schedule(multistep(warmup, milestones, gamma)),
        "plateau": lambda: Schedule(constant(warmup), Plateau(gamma, config.patience or 1)),
    }
    return schedules[config.name]()
