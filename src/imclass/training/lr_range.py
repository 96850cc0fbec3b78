"""The learning-rate range test (Smith 2017, arXiv:1506.01186), with rates that rise geometrically."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from tqdm import tqdm

from imclass.errors import UserError
from imclass.training.schedules import Schedule
from imclass.training.setup import Setup

LOWEST, HIGHEST, STEPS = 1e-6, 10.0, 140  # 20 steps for a factor of 10
EXPLODED = 4.0  # times the first loss, at which the test ends
SMOOTHING = 4.0  # steps: standard deviation of the Gaussian


@dataclass(frozen=True, slots=True)
class RangeTest:
    """The loss of a batch at each learning rate, until it explodes: then `exploded` is the loss that did."""

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    exploded: float | None = None

    @property
    def suggestion(self) -> float | None:
        """The rate at which the loss has fallen half of its way; None where it hardly falls.

        Hardly: by less than batches differ. Halfway, as the steepest place of a noisy curve moves with the
        noise.
        """
        lowest = self.smoothed.index(min(self.smoothed))
        pairs = zip(self.losses[: lowest + 1], self.smoothed, strict=False)
        scatter = math.sqrt(sum((loss - mean) ** 2 for loss, mean in pairs) / (lowest + 1))
        if self.smoothed[0] - self.smoothed[lowest] <= scatter:
            return None
        middle = (self.smoothed[0] + self.smoothed[lowest]) / 2
        return next(rate for rate, loss in zip(self.rates, self.smoothed, strict=True) if loss <= middle)


def range_test(setup: Setup) -> RangeTest:
    """Train at rising rates; the model is of no use afterwards. Raises UserError without a finite loss."""
    learner, rates = setup.learner, [LOWEST * (HIGHEST / LOWEST) ** (i / (STEPS - 1)) for i in range(STEPS)]
    learner.schedule = Schedule(lambda step: rates[step] / setup.config.optimizer.lr)
    learner.model.train()
    losses: list[float] = []
    exploded = None
    for step in tqdm(range(STEPS), unit="step", leave=False, disable=not sys.stderr.isatty()):
        images, targets = setup.loader.batch(step)
        learner.schedule.apply(learner.optimizer, step)
        loss = float(learner.backward(images, targets, step)[0])
        if not math.isfinite(loss) or loss > EXPLODED * [*losses, loss][0]:
            exploded = loss
            break
        losses.append(loss)
        learner.step(setup.plan.max_norm)
    if not losses:
        raise UserError(
            f"the first loss is {exploded}, before any step: look at the images (imclass data inspect), at "
            "dataset.mean and dataset.std, and at model.weights; or try device.precision=fp32"
        )
    return RangeTest(rates[: len(losses)], losses, smoothed(losses), exploded)


def smoothed(values: Sequence[float]) -> list[float]:
    """Return weighted means around each value, with a Gaussian: unlike a running mean, none lags."""
    means = []
    for centre in range(len(values)):
        weights = [math.exp(-(((i - centre) / SMOOTHING) ** 2) / 2) for i in range(len(values))]
        means.append(sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights))
    return means
