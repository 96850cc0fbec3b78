"""Notices the step at which a training stops being finite, without making the host wait for it."""

from collections.abc import Iterable

import torch
from torch import Tensor


class DivergenceWatch:
    """Remembers, on the device, the first step whose loss was not finite."""

    def __init__(self, device: torch.device):
        self._first = torch.full((), -1, dtype=torch.int64, device=device)

    def observe(self, step: int, loss: Tensor) -> None:
        """Look at the scalar loss of `step`."""
        is_first = ~torch.isfinite(loss) & (self._first < 0)
        self._first.masked_fill_(is_first, step)

    @property
    def first_step(self) -> int | None:
        """The first step that was not finite, or None. Waits for the device."""
        step = int(self._first)
        return None if step < 0 else step


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Tell whether no tensor holds NaN or infinity. Waits for the device."""
    return bool(torch.isfinite(torch.nn.utils.get_total_norm(list(tensors))))
