"""The durations of a configuration in optimizer steps: how long to train, and what happens how often."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from imclass.config.durations import parse_duration
from imclass.config.resolutions import parse_resolution
from imclass.config.schema import Config
from imclass.errors import counted


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to train, and what happens how often; in optimizer steps unless the name ends in seconds."""

    steps: int
    eval_every: int
    log_every: int
    save_every: int | None
    save_seconds: float | None  # neither of the two: as often as costs little
    max_seconds: float | None
    patience: int | None  # evaluations without a better one before training ends
    metric: str  # what makes a model the best on validation data: a key of METRICS
    max_norm: float  # of all gradients together; inf: not clipped
    resolutions: tuple[tuple[int, int], ...]  # the step before which each lower side in pixels is used

    @classmethod
    def of(cls, config: Config, steps_per_epoch: int) -> "Plan":
        """Turn the durations of a checked configuration into steps and seconds."""
        train = config.train
        save = parse_duration(config.checkpoint.every) if config.checkpoint.every is not None else None
        by_clock = save is not None and save.unit == "s"
        steps = train.steps or max(1, round((train.epochs or 0) * steps_per_epoch))
        lower = map(parse_resolution, train.resolutions)
        return cls(
            steps=steps,
            eval_every=max(1, parse_duration(train.eval_every).steps(steps_per_epoch)),
            log_every=max(1, parse_duration(train.log_every).steps(steps_per_epoch)),
            save_every=max(1, save.steps(steps_per_epoch)) if save and not by_clock else None,
            save_seconds=save.value if save and by_clock else None,
            max_seconds=parse_duration(train.max_time).value if train.max_time is not None else None,
            patience=train.early_stopping,
            metric=config.checkpoint.metric,
            max_norm=train.grad_clip or math.inf,
            resolutions=tuple((until.steps(steps_per_epoch, steps), side) for side, until in lower),
        )

    def problem_of_resolutions(self, typed: Sequence[str]) -> str | None:
        """Return what is wrong with the times of `train.resolutions`, as typed; None if nothing is."""
        times = [until for until, _ in self.resolutions]  # a short training may round two to one step
        repeated = len({text.partition(":")[2] for text in typed}) < len(typed)
        if times == sorted(times) and not repeated and all(time <= self.steps for time in times):
            return None
        within = f"training ({counted(self.steps, 'step')})"
        return f"train.resolutions=[{','.join(typed)}]: expected rising times within {within}"

    def logs(self, step: int) -> bool:
        """Return whether training is logged after this many steps; a time limit may add a point."""
        return step % self.log_every == 0 or step % self.eval_every == 0 or step == self.steps

    def side(self, step: int) -> int | None:
        """Return the side in pixels of the training images at `step`; None: that of all other images."""
        return next((side for until, side in self.resolutions if step < until), None)

    @property
    def evaluations(self) -> int:
        """How often the whole training evaluates; the last evaluation follows the last step."""
        return math.ceil(self.steps / self.eval_every)
