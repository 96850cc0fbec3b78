"""One optimizer step: the gradients of a batch, in parts that fit into memory, on any number of ranks."""

import contextlib
import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from imclass.errors import OutOfMemory, UserError
from imclass.evaluation.evaluate import copied_logits
from imclass.machine.device import Device
from imclass.machine.randomness import seed_everything
from imclass.training.ema import Ema
from imclass.training.muon import Muon
from imclass.training.schedules import Schedule


@dataclasses.dataclass(slots=True, kw_only=True)
class Learner:
    """A model with its loss, optimizer, schedule and averaged weights, on its device."""

    model: nn.Module
    network: nn.Module  # called in forward: `trained`, or its DDP wrapper
    loss: nn.Module  # logits (N, classes), targets -> scalar mean
    guessing: float = math.inf  # that loss of a network which predicts the same for all images
    optimizer: Optimizer
    schedule: Schedule
    ema: Ema
    scaler: torch.amp.GradScaler
    device: Device
    seed: int
    batch_size: int  # of one step, over all ranks
    micro_batch: int  # images per forward pass; halved when memory runs out
    part: str = (
        ""  # name of the layer that is trained on features (`probe.py`); "": the whole model, on images
    )
    about: tuple[str, ...] = ()  # lines on the weights it starts from, what is frozen, and rates of blocks
    notify: Callable[[str], None] = print  # shows a line to the user

    @property
    def trained(self) -> nn.Module:
        """What batches go through: the model, or of a probe its last layer."""
        return self.model.get_submodule(self.part)

    @property
    def smallest_batch(self) -> int:
        """Images that a forward pass needs: batch norm has no variance of a single one."""
        norms = (m for m in self.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
        return 2 if any(norms) else 1

    def backward(self, images: Tensor, targets: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Leave the batch's gradients in the model; return its mean loss and float32 logits (N, classes).

        images: normalised (N, C, H, W), this rank's slice of the batch. targets: int64 (N,), or soft
        (N, classes). When memory runs out, `micro_batch` is halved and the pass repeated; not on several
        ranks, whose peers are in the middle of this pass. Raises OutOfMemory, and UserError where CUDA graphs
        would split it.
        """
        while True:
            try:
                return self.backward_in_parts(images, targets, step)
            except (RuntimeError, MemoryError) as error:
                if not self.device.is_out_of_memory(error):
                    raise
                size = min(len(images), self.micro_batch)
                failed = f"out of memory with {size} images at a time"
                if size <= self.smallest_batch:
                    raise OutOfMemory(f"{failed}; choose a smaller model= or dataset.resize=") from error
                if self.device.processes.size > 1:
                    raise OutOfMemory(f"{failed}; set device.micro_batch={math.ceil(size / 2)}") from error
            self.micro_batch = math.ceil(self.micro_batch / 2)
            self.notify(
                f"out of memory: each batch is now split into parts of {self.micro_batch} images "
                "(the gradients add up to the same, but batch norm sees the parts)"
            )

    def backward_in_parts(self, images: Tensor, targets: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Accumulate the gradients of parts of about `micro_batch` images, each weighted by its share.

        No part is too small for batch norm. On several ranks the gradients become those of the whole batch,
        and the running statistics of batch norm the mean of the ranks', weighted by their images; the mean
        of the returned losses is the batch's. Dropout draws other numbers on each rank.
        """
        processes = self.device.processes
        self.optimizer.zero_grad(set_to_none=True)
        seed_everything(self.seed, f"dropout{processes.rank or ''}", step)
        count = math.ceil(len(images) / self.micro_batch)
        if count > 1:
            count = min(count, len(images) // self.smallest_batch)
        if count > 1 and self.device.compile == "cuda_graphs":  # github.com/pytorch/pytorch/issues/169545
            failed = f"cannot add up the gradients of parts of {self.micro_batch} images"
            other = "device.compile=true can; or leave out device.micro_batch and lower train.batch_size"
            raise UserError(f"device.compile=cuda_graphs: {failed}; {other}")
        losses, outputs = [], []
        parts = zip(images.tensor_split(count), targets.tensor_split(count), strict=True)
        for number, (part, part_targets) in enumerate(parts, 1):
            with processes.gradients(self.network, complete=number == count):
                with self.device.autocast():
                    logits = copied_logits(self.network(part))
                    loss = self.loss(logits, part_targets) * (len(part) * processes.size / self.batch_size)
                self.scaler.scale(loss).backward()
            losses.append(loss.detach())
            outputs.append(logits.detach())
        if processes.size > 1:
            processes.average_(self._statistics(), len(images) / self.batch_size)
        return torch.stack(losses).sum(), torch.cat(outputs)

    def _statistics(self) -> list[Tensor]:
        """Return batch norm's running statistics, except those of frozen modules, equal on all ranks."""
        training = (module for module in self.model.modules() if module.training)
        buffers = (buffer for module in training for buffer in module.buffers(recurse=False))
        return [buffer for buffer in buffers if buffer.is_floating_point()]

    def step(self, max_norm: float, *, measured: bool = False) -> Tensor | None:
        """Clip the gradients, update weights and average; return the gradients' norm before clipping.

        max_norm: of all gradients together; inf does not clip, and then None is returned unless `measured`.
        """
        self.scaler.unscale_(self.optimizer)
        norm = None
        if measured or max_norm < math.inf:
            parameters = list(self.model.parameters())
            norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
            if max_norm < math.inf:
                nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
        products = isinstance(self.optimizer, Muon)  # of matrices, for which half precision is enough
        with self.device.autocast() if products else contextlib.nullcontext():
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.ema.update()
        return norm

    def settle_buckets(self, images: Tensor, targets: Tensor, step: int) -> None:
        """Let DDP settle its bucket layout before the first real step, by a backward pass without a step.

        DDP rebuilds its buckets after its first backward pass. A gradient's place in them decides the order
        in which the ranks' parts are summed, and so how the sum is rounded: a resumed run must start with
        the layout of one that was never interrupted.
        """
        if self.network is self.trained:
            return
        before = [buffer.clone() for buffer in self.model.buffers()]
        self.backward(images, targets, step)
        for buffer, value in zip(self.model.buffers(), before, strict=True):
            buffer.copy_(value)
