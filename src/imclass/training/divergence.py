"""Notices that a training fails: the step at which it stops being finite, and a loss back at guessing."""

from collections.abc import Iterable

import torch
from torch import Tensor

from imclass.errors import Diverged
from imclass.machine.processes import ALONE, Processes

NEVER = 2**62
LEARNED, BACK = 0.7, 0.98  # times the loss of guessing: clearly below it, and there again
LASTING = 2  # epochs, as what a network recovers from takes one


class DivergenceWatch:
    """Records, on the device, the first step whose loss was not finite on any rank."""

    def __init__(self, device: torch.device, processes: Processes = ALONE):
        self._first = torch.full((), NEVER, dtype=torch.int64, device=device)
        self._processes = processes

    def observe(self, step: int, loss: Tensor) -> None:
        """Look at the scalar loss of `step`."""
        is_first = ~torch.isfinite(loss) & (self._first == NEVER)
        self._first.masked_fill_(is_first, step)

    @property
    def first_step(self) -> int | None:
        """The first step that was not finite, or None. A collective; waits for the device."""
        step = -self._processes.all_reduce_max(-int(self._first))[0]  # the minimum over all ranks
        return None if step == NEVER else step


class CollapseWatch:
    """Notices once that a network which had learned guesses again, as one whose units have all died does.

    guessing: what `loss_of_guessing` returns. images: how many an epoch has; the mean loss of each is judged.
    """

    def __init__(self, guessing: float, images: int):
        self._guessing, self._epoch = guessing, images
        self._sum, self._images = 0.0, 0
        self._learned, self._guessed = False, 0  # epochs in a row; from LASTING on, the warning was given

    def observe(self, loss: float, images: int) -> str | None:
        """Add a point of training; return the warning at the end of the epoch that calls for it.

        loss: the mean over `images` images since the point before.
        """
        self._sum, self._images = self._sum + loss * images, self._images + images
        if self._images < self._epoch:
            return None
        mean, self._sum, self._images = self._sum / self._images, 0.0, 0
        self._learned |= mean < LEARNED * self._guessing
        if not self._learned or self._guessed == LASTING:
            return None
        self._guessed = self._guessed + 1 if mean >= BACK * self._guessing else 0
        if self._guessed < LASTING:
            return None
        return (
            f"the training loss is back at that of guessing, {mean:.3f}, for {LASTING} epochs: try a lower "
            "optimizer.lr, or train.grad_clip=1"
        )


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether all values of all tensors are finite. Waits for the device."""
    return bool(torch.isfinite(torch.nn.utils.get_total_norm(list(tensors))))


def diverged(step: int, steps_per_epoch: int, lr: float, kept: int | None) -> Diverged:
    """Return the error that names `step` (0 is the first) and the step of the checkpoint before it."""
    epoch, batch = divmod(step, steps_per_epoch)
    return Diverged(
        f"training diverged: loss or weights are not finite at step {step + 1} (epoch {epoch + 1}, batch "
        f"{batch + 1}, lr {lr:g}); "
        f"{'no checkpoint was saved before' if kept is None else f'the checkpoint of step {kept} is kept'}; "
        "try a lower optimizer.lr, more warm-up or train.grad_clip=1"
    )
