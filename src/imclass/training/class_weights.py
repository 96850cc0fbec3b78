"""The weight of each class in the training loss, by how many images it has."""

from collections.abc import Sequence

from imclass.config.class_weights import require_weight_per_class
from imclass.config.schema import Config
from imclass.data.dataset import Data

BETA = 0.999  # above about 1 / (1 - BETA) images, more of them hardly lower a weight


def class_weights(config: Config, data: Data) -> list[float] | None:
    """Return the weights of `train.class_weights`, or None. Raises ConfigError for a list of another length.

    Their mean over the images that training draws is 1, so that the loss keeps its scale, and a learning
    rate its meaning.
    """
    choice, counts = config.train.class_weights, data.images_per_class
    require_weight_per_class(choice, data.classes)
    if choice is None:
        return None
    if isinstance(choice, list):
        weights = choice
    else:
        weights = effective_number(counts) if choice == "auto" else inverse_frequency(counts)
    drawn = times_drawn(config, data)
    mean = sum(weight * times for weight, times in zip(weights, drawn, strict=True)) / sum(drawn)
    return [weight / mean for weight in weights]


def times_drawn(config: Config, data: Data) -> list[int]:
    """Return how often training draws each class, relative to the others."""
    counts = data.images_per_class
    return [min(count, 1) for count in counts] if config.dataset.balance else counts


def effective_number(counts: Sequence[int], beta: float = BETA) -> list[float]:
    """Return 1 / the effective number of each class's images (Cui et al. 2019, arXiv:1901.05555).

    It is (1 - beta^n) / (1 - beta): n where images are few, at most 1 / (1 - beta), as images resemble one
    another. A class without images counts as one with one.
    """
    return [(1 - beta) / (1 - beta ** max(count, 1)) for count in counts]


def inverse_frequency(counts: Sequence[int]) -> list[float]:
    """Return 1 / the number of each class's images; a class without any counts as one with one."""
    return [1 / max(count, 1) for count in counts]
