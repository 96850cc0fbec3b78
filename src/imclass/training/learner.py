"""What learns, and how: the parts that one optimizer step touches, and the gradients of one batch."""

import dataclasses
import math

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from imclass.machine.device import Device
from imclass.machine.randomness import seed_everything
from imclass.training.ema import Ema
from imclass.training.schedules import Schedule


@dataclasses.dataclass(slots=True, kw_only=True)
class Learner:
    """A model with its loss, optimizer, schedule and average of weights, on its device."""

    model: nn.Module
    network: nn.Module  # what batches pass: the model, or what also averages its gradients over processes
    loss: nn.Module  # logits (N, classes), targets -> scalar mean
    optimizer: Optimizer
    schedule: Schedule
    ema: Ema
    device: Device
    seed: int
    batch_size: int  # of one step, over all processes

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

        Of many processes, each passes its slice. The gradients become those of the whole batch, and the
        running statistics of batch norm the average of the slices', weighted by their images; the mean of
        the returned losses is the batch's. Dropout draws other numbers on each.
        """
        processes = self.device.processes
        self.optimizer.zero_grad(set_to_none=True)
        seed_everything(self.seed, f"dropout{processes.rank or ''}", step)
        count = min(math.ceil(len(images) / micro_batch), len(images) // self.smallest_batch)
        losses, outputs = [], []
        parts = zip(images.tensor_split(count), targets.tensor_split(count), strict=True)
        for number, (part, part_targets) in enumerate(parts, 1):
            with processes.gradients(self.network, complete=number == count):
                with self.device.autocast():
                    logits = self.network(part).float()
                    loss = self.loss(logits, part_targets) * (len(part) * processes.size / self.batch_size)
                scaler.scale(loss).backward()
            losses.append(loss.detach())
            outputs.append(logits.detach())
        statistics = [buffer for buffer in self.model.buffers() if buffer.is_floating_point()]
        processes.average_(statistics, len(images) / self.batch_size)
        return torch.stack(losses).sum(), torch.cat(outputs)
