"""Random numbers per image that do not depend on how many ranks share its batch."""

import torch
from torch import Tensor


class SliceGenerator(torch.Generator):
    """A CPU generator for some images of a batch: it draws for the whole batch and keeps theirs.

    batch: size of the global batch. positions: int64 (n,), of the images in it.
    """

    batch: int
    positions: Tensor

    def __new__(cls, seed: int, batch: int, positions: Tensor) -> "SliceGenerator":
        return super().__new__(cls)

    def __init__(self, seed: int, batch: int, positions: Tensor):
        self.manual_seed(seed)
        self.batch, self.positions = batch, positions


def draw_integers(high: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return uniform int64 numbers from 0 to high - 1. shape: its last dimension counts images."""
    return _keep(torch.randint(high, _of_batch(shape, generator), generator=generator), generator)


def draw_fractions(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return uniform float64 numbers, at least 0 and below 1. shape: its last dimension counts images."""
    drawn = torch.rand(_of_batch(shape, generator), generator=generator, dtype=torch.float64)
    return _keep(drawn, generator)


def _of_batch(shape: tuple[int, ...], generator: torch.Generator) -> tuple[int, ...]:
    return (*shape[:-1], generator.batch) if isinstance(generator, SliceGenerator) else shape


def _keep(drawn: Tensor, generator: torch.Generator) -> Tensor:
    return drawn[..., generator.positions] if isinstance(generator, SliceGenerator) else drawn
