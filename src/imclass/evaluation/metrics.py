"""Loss and accuracy as sums and counts on the device, divided once: exact for every batch size."""

import dataclasses
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
    balanced_accuracy: float | None = None  # mean recall of the classes that have images; None in training

    @property
    def figures(self) -> dict[str, float]:
        """What is logged at each evaluation, by its name in metrics.jsonl and TensorBoard."""
        balanced = {} if self.balanced_accuracy is None else {"balanced_accuracy": self.balanced_accuracy}
        return {"loss": self.loss, "accuracy": self.accuracy, **balanced}

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.loss)

    def __str__(self) -> str:
        accuracy, balanced = f"{self.accuracy:.2%}", f"{self.balanced_accuracy or 0:.2%}"
        shown = (
            f", balanced {balanced}" if self.balanced_accuracy is not None and balanced != accuracy else ""
        )
        return f"loss {self.loss:.4f}, accuracy {accuracy}{shown}"


class Meter:
    """Accumulates loss and correct predictions without making the host wait for the device.

    Each rank counts its own images; `compute` reduces over all ranks. balanced: count by class as well.
    """

    def __init__(self, device: torch.device, processes: Processes = ALONE, *, balanced: bool = False):
        self.processes, self.balanced = processes, balanced
        dtype = torch.float64 if device.type != "mps" else torch.float32
        self.sums = torch.zeros(3, dtype=dtype, device=device)  # loss, correct predictions, images
        self.by_class = self.sums.new_zeros(2, 0)  # correct predictions, images; from the first batch on

    def update(self, loss_sum: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch. loss_sum: scalar, summed over images. labels: int64 (N,), or soft (N, classes)."""
        hard = labels if labels.ndim == 1 else labels.argmax(dim=1)
        right = logits.argmax(dim=1) == hard
        images = right.sum().new_full((), len(hard))
        self.sums += torch.stack([loss_sum.detach().float(), right.sum(), images]).to(self.sums)
        if self.balanced:
            self._widen(logits.shape[1])
            self.by_class.index_add_(1, hard, torch.stack([right, torch.ones_like(right)]).to(self.sums))

    def compute(self) -> Result:
        """Return the means so far; NaN loss before the first update. A collective; waits for the device."""
        result = _means(self.processes.all_reduce_sum(self.sums))
        if not self.balanced:
            return result
        self._widen(self.processes.all_reduce_max(self.by_class.shape[1])[0])  # a rank may have no images
        correct, images = self.processes.all_reduce_sum(self.by_class)
        recall = (correct / images)[images > 0]
        return dataclasses.replace(result, balanced_accuracy=float(recall.mean()))

    def _widen(self, classes: int) -> None:
        self.by_class = nn.functional.pad(self.by_class, (0, classes - self.by_class.shape[1]))

    def compute_own(self) -> Result:
        """Return the means over this rank's images. Waits for the device, not for other ranks."""
        return _means(self.sums)

    def reset(self) -> None:
        self.sums.zero_()

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self.processes.all_gather(self.sums)}  # (processes, 3)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the saved sums; rank 0 takes them all when the number of ranks has changed."""
        rows = state["sums"].reshape(-1, 3)
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
