"""Notices the step at which a training stops being finite, without making the host wait for it."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from imclass.errors import Diverged


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


def diverged(step: int, steps_per_epoch: int, lr: float, folder: Path) -> Diverged:
    """Return the error that names what is needed to replay `step` (0 is the first)."""
    epoch, batch = divmod(step, steps_per_epoch)
    return Diverged(
        f"training diverged: loss or weights are not finite at step {step + 1} (epoch {epoch + 1}, batch "
        f"{batch + 1}, lr {lr:g}); the last finite checkpoint, if there is one, is kept in {folder}; "
        "try a lower optimizer.lr, more warm-up or train.grad_clip=1"
    )
