"""What learns, and how: the parts that one optimizer step touches, and the gradients of one batch."""

import dataclasses
import math

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from imclass.device import Device
from imclass.ema import Ema
from imclass.reproducibility import seed_everything
from imclass.schedules import Schedule


@dataclasses.dataclass(slots=True, kw_only=True)
class Learner:
    """A model with its loss, optimizer, schedule and average of weights, on its device."""

    model: nn.Module
    loss: nn.Module  # logits (N, classes), targets -> scalar mean
    optimizer: Optimizer
    schedule: Schedule
    ema: Ema
    device: Device
    seed: int

    @property
    def smallest_batch(self) -> int:
        """Images that a forward pass needs: batch norm has no variance of a single one."""
        norms = (m for m in self.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
        return 2 if any(norms) else 1

    def backward(
        self, images: Tensor, targets: Tensor, scaler: torch.amp.GradScaler, step: int, micro_batch: int
    ) -> tuple[Tensor, Tensor]:
        """Leave the batch's gradients in the model; return its mean loss and float32 logits (N, classes).

        images: normalised (N, C, H, W). targets: int64 (N,), or soft (N, classes). They pass the model
        in parts of about `micro_batch` images, none too small for batch norm, each weighted by its share.
        """
        self.optimizer.zero_grad(set_to_none=True)
        seed_everything(self.seed, "dropout", step)
        count = min(math.ceil(len(images) / micro_batch), len(images) // self.smallest_batch)
        losses, outputs = [], []
        for part, part_targets in zip(images.tensor_split(count), targets.tensor_split(count), strict=True):
            with self.device.autocast():
                logits = self.model(part).float()
                loss = self.loss(logits, part_targets) * (len(part) / len(images))
            scaler.scale(loss).backward()
            losses.append(loss.detach())
            outputs.append(logits.detach())
        return torch.stack(losses).sum(), torch.cat(outputs)
