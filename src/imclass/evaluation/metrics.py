"""Loss and accuracy as sums and counts on the device, divided once: exact for every batch size."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from imclass.machine.processes import ALONE, Processes


@dataclass(frozen=True, slots=True)
class Result:
    """Mean loss per image and accuracy (0..1) over `images` images."""

    loss: float
    accuracy: float
    images: int

    @property
    def figures(self) -> dict[str, float]:
        """What is logged at each evaluation, by its name in metrics.jsonl and TensorBoard."""
        return {"loss": self.loss, "accuracy": self.accuracy}

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.loss)

    def __str__(self) -> str:
        return f"loss {self.loss:.4f}, accuracy {self.accuracy:.2%}"


class Meter:
    """Accumulates loss and correct predictions without making the host wait for the device.

    Each rank counts its own images; `compute` reduces over all ranks.
    """

    def __init__(self, device: torch.device, processes: Processes = ALONE):
        self.processes = processes
        self.sums = torch.zeros(
            3, dtype=torch.float64 if device.type != "mps" else torch.float32, device=device
        )

    def update(self, loss_sum: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch. loss_sum: scalar, summed over images. labels: int64 (N,), or soft (N, classes)."""
        hard = labels if labels.ndim == 1 else labels.argmax(dim=1)
        correct = (logits.argmax(dim=1) == hard).sum()
        self.sums += torch.stack([loss_sum.detach().float(), correct, correct.new_full((), len(hard))]).to(
            self.sums
        )

    def compute(self) -> Result:
        """Return the means so far; NaN loss before the first update. A collective; waits for the device."""
        return _means(self.processes.all_reduce_sum(self.sums))

    def compute_own(self) -> Result:
        """Return the means over this rank's images. Waits for the device, not for other ranks."""
        return _means(self.sums)

    def reset(self) -> None:
        self.sums.zero_()

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self.processes.all_gather(self.sums)}  # (processes, 3)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the saved sums; rank 0 takes them all when the number of ranks has changed."""
        rows = state["sums"].view(-1, 3)
        if len(rows) == self.processes.size:
            self.sums.copy_(rows[self.processes.rank])
        else:
            self.sums.copy_(rows.sum(0) * self.processes.is_first)


def _means(sums: Tensor) -> Result:
    loss, correct, images = sums.tolist()
    return Result(loss / images if images else math.nan, correct / images if images else 0.0, int(images))


def cross_entropy_sum(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the summed cross entropy of float logits (N, classes) and int64 labels (N,), as a scalar."""
    return nn.functional.cross_entropy(logits, labels, reduction="sum")
