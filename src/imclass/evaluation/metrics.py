"""Loss and accuracy as sums and counts on the device, divided once: exact for every batch size."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from imclass.config.metric import by_class_in_words
from imclass.machine.processes import ALONE, Processes


@dataclass(frozen=True, slots=True)
class Result:
    """Mean loss per image and accuracy (0..1) over `images` images."""

    loss: float
    accuracy: float
    images: int
    # Means over the classes that have images; None in training.
    balanced_accuracy: float | None = None  # of their recall
    macro_f1: float | None = None

    @property
    def figures(self) -> dict[str, float]:
        """What is logged at each evaluation, by its name in metrics.jsonl and TensorBoard."""
        by_class = {"balanced_accuracy": self.balanced_accuracy, "macro_f1": self.macro_f1}
        known = {name: value for name, value in by_class.items() if value is not None}
        return {"loss": self.loss, "accuracy": self.accuracy, **known}

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.loss)

    def text(self, chosen: str = "") -> str:
        """Return the figures in words. chosen: the metric that makes a model the best."""
        figures = f"loss {self.loss:.4f}, accuracy {self.accuracy:.2%}"
        return figures + by_class_in_words(self.figures, chosen)


class Meter:
    """Accumulates loss and correct predictions without making the host wait for the device.

    Each rank counts its own images; `compute` reduces over all ranks. by_class: count by class as well.
    """

    def __init__(self, device: torch.device, processes: Processes = ALONE, *, by_class: bool = False):
        self.processes, self._counts_classes = processes, by_class
        dtype = torch.float64 if device.type != "mps" else torch.float32
        self.sums = torch.zeros(3, dtype=dtype, device=device)  # loss, correct predictions, images
        # (3, classes) from the first batch on: correct predictions, images, predictions.
        self._by_class = self.sums.new_zeros(3, 0)

    def update(self, loss_sum: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch. loss_sum: scalar, summed over images. labels: int64 (N,), or soft (N, classes)."""
        hard = labels if labels.ndim == 1 else labels.argmax(dim=1)
        predicted = logits.argmax(dim=1)
        right = predicted == hard
        count = right.sum()
        self.sums += torch.stack([loss_sum.detach().float(), count, count.new_full((), len(hard))])
        if self._counts_classes:
            self._widen(logits.shape[1])
            counts = torch.stack([right, torch.ones_like(right)]).to(self.sums)
            self._by_class[:2].index_add_(1, hard, counts)
            self._by_class[2].index_add_(0, predicted, counts[1])

    def compute(self) -> Result:
        """Return the means so far; NaN loss before the first update. A collective; waits for the device."""
        result = _means(self.processes.all_reduce_sum(self.sums))
        if not self._counts_classes:
            return result
        self._widen(self.processes.all_reduce_max(self._by_class.shape[1])[0])  # a rank may have no images
        correct, images, predictions = self.processes.all_reduce_sum(self._by_class)
        present = images > 0
        recall = (correct / images)[present]
        f1 = (2 * correct / (images + predictions))[present]
        return dataclasses.replace(result, balanced_accuracy=float(recall.mean()), macro_f1=float(f1.mean()))

    def _widen(self, classes: int) -> None:
        self._by_class = nn.functional.pad(self._by_class, (0, classes - self._by_class.shape[1]))

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
