"""Loss and accuracy as sums and counts on the device, divided once: exact for every batch size."""

import math
from typing import Any

import torch
from torch import Tensor

from imclass.result import Result


class Meter:
    """Accumulates loss and correct predictions without ever making the host wait for the device."""

    def __init__(self, device: torch.device):
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
        """Return the means so far; NaN loss before the first update. Waits for the device."""
        loss, correct, images = self.sums.tolist()
        return Result(loss / images if images else math.nan, correct / images if images else 0.0, int(images))

    def reset(self) -> None:
        self.sums.zero_()

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self.sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sums.copy_(state["sums"])
