"""The gradients of one batch: in parts that fit the memory, and summed alike at every start."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from imclass.errors import OutOfMemory
from imclass.training.learner import Learner
from imclass.training.progress import Progress


def backward_within_memory(
    learner: Learner,
    progress: Progress,
    scaler: torch.amp.GradScaler,
    images: Tensor,
    targets: Tensor,
    tell: Callable[[str], None],
) -> tuple[Tensor, Tensor]:
    """Leave the batch's gradients in the model and return its loss and logits, as `Learner.backward` does.

    When the memory runs out, it is done again in smaller parts, which `progress` remembers and `tell` says.
    Not with many processes: the others are in the middle of this pass. Raises OutOfMemory.
    """
    while True:
        try:
            return learner.backward(images, targets, scaler, progress.step, progress.micro_batch)
        except (RuntimeError, MemoryError) as error:
            if not learner.device.is_out_of_memory(error):
                raise
            size = min(len(images), progress.micro_batch)
            failed = f"out of memory with {size} images at a time"
            if size <= learner.smallest_batch:
                raise OutOfMemory(f"{failed}; choose a smaller model= or dataset.resize=") from error
            if learner.device.processes.size > 1:
                raise OutOfMemory(f"{failed}; set device.micro_batch={math.ceil(size / 2)}") from error
        progress.micro_batch = math.ceil(progress.micro_batch / 2)
        tell(
            f"out of memory: batches now pass the model in parts of {progress.micro_batch} images "
            "(the gradients add up to the same, but batch norm sees the parts)"
        )


def settle_gradients(learner: Learner, backward: Callable[[], object]) -> None:
    """Let the gradients of many processes take their final places, by a pass without a step.

    DistributedDataParallel orders them in its messages after its first backward pass. Where a gradient lies
    decides in which order the processes' parts are added, hence how the sum is rounded; and a resumed
    run must add like one that was never interrupted. backward: leaves the gradients of any batch.
    """
    if learner.network is learner.model:
        return
    before = [buffer.clone() for buffer in learner.model.buffers()]
    backward()
    for buffer, value in zip(learner.model.buffers(), before, strict=True):
        buffer.copy_(value)
