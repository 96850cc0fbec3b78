"""Random numbers per image, the same for an image however many processes share its batch; on its device."""

import torch
from torch import Tensor


class SliceGenerator(torch.Generator):
    """A CPU generator for a process that has only some images of a batch.

    Numbers are drawn for every image of the batch, and those of the own images are kept.
    batch: number of images. own: int64 (n,), positions of the process's images in the batch.
    """

    batch: int
    own: Tensor

    def __new__(cls, seed: int, batch: int, own: Tensor) -> "SliceGenerator":
        return super().__new__(cls)

    def __init__(self, seed: int, batch: int, own: Tensor):
        self.manual_seed(seed)
        self.batch, self.own = batch, own


def draw_integers(high: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return uniform int64 numbers from 0 to high - 1. shape: its last dimension counts images."""
    return _own(torch.randint(high, _of_batch(shape, generator), generator=generator), generator)


def draw_fractions(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return uniform float64 numbers, at least 0 and below 1. shape: its last dimension counts images."""
    drawn = torch.rand(_of_batch(shape, generator), generator=generator, dtype=torch.float64)
    return _own(drawn, generator)


def to_device(draws: Tensor, device: torch.device) -> Tensor:
    """Send numbers drawn on the CPU to the images' device; on CUDA without making the host wait."""
    if device.type != "cuda":  # MPS could read the memory of an unfinished copy after it was freed
        return draws.to(device)
    return draws.pin_memory().to(device, non_blocking=True)  # from pageable memory it may wait


def _of_batch(shape: tuple[int, ...], generator: torch.Generator) -> tuple[int, ...]:
    return (*shape[:-1], generator.batch) if isinstance(generator, SliceGenerator) else shape


def _own(drawn: Tensor, generator: torch.Generator) -> Tensor:
    return drawn[..., generator.own] if isinstance(generator, SliceGenerator) else drawn
