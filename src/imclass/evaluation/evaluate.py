"""A model's predictions for a whole split, and their loss and accuracy."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from imclass.data.loader import EvalLoader
from imclass.evaluation.metrics import Meter, Result, cross_entropy_sum
from imclass.machine.device import Device
from imclass.machine.signals import STOP


@dataclass(frozen=True, slots=True)
class Predictions:
    """The logits of every image of a split, in its order, on the CPU."""

    logits: Tensor  # float32 (N, classes)
    labels: Tensor  # int64 (N,)
    result: Result

    @property
    def probabilities(self) -> Tensor:
        """float32 (N, classes), rows of sum 1."""
        return self.logits.softmax(dim=1)


def evaluate(model: nn.Module, loader: EvalLoader, device: Device) -> Result:
    """Return the exact mean cross entropy (no smoothing) and accuracy over every image of `loader`.

    Each rank evaluates its slice, and the sums are reduced: no image counts twice.
    The model keeps its mode (train or eval).
    """
    meter = Meter(device.device, device.processes, by_class=True)
    for logits, labels in _outputs(model, loader, device):
        meter.update(cross_entropy_sum(logits, labels), logits, labels)
    return meter.compute()


def predictions_of(model: nn.Module, loader: EvalLoader, device: Device) -> Predictions:
    """Return logits and labels of every image of `loader`; `result` is exactly what `evaluate` returns.

    Rank 0 gets the logits and labels of all ranks, the others only those of their slices.
    """
    meter = Meter(device.device, device.processes, by_class=True)
    own = list(_outputs(model, loader, device))
    for logits, labels in own:
        meter.update(cross_entropy_sum(logits, labels), logits, labels)
    nothing = torch.empty(0, 0), torch.empty(0, dtype=torch.int64)  # a slice without images
    parts = device.processes.gather([(logits.cpu(), labels.cpu()) for logits, labels in own])
    outputs = [output for part in parts for output in part]
    logits, labels = (torch.cat(rows) for rows in zip(*(outputs or [nothing]), strict=True))
    return Predictions(logits, labels, meter.compute())


def copied_logits(outputs: Tensor) -> Tensor:
    """Return a network's outputs as a float32 copy: CUDA graphs overwrite theirs at the next call."""
    return outputs.to(torch.float32, copy=True)


@torch.inference_mode()
def logits_of(model: nn.Module, images: Tensor, device: Device) -> Tensor:
    """Return float32 logits (N, classes) of normalised images (N, C, H, W) on the device.

    When memory runs out, the batch is split in halves.
    """
    try:
        with device.autocast():
            return copied_logits(model(images))
    except (RuntimeError, MemoryError) as error:
        if len(images) == 1 or not device.is_out_of_memory(error):
            raise
    halves = images.split(math.ceil(len(images) / 2))
    return torch.cat([logits_of(model, half, device) for half in halves])


def _outputs(model: nn.Module, loader: EvalLoader, device: Device) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield logits and labels batch by batch, the model in evaluation mode meanwhile.

    Raises Interrupted when a signal asks to stop, on all ranks at the same batch.
    """
    was_training = model.training
    model.eval()
    try:
        for images, labels in loader:
            STOP.raise_if_set()
            if len(images):  # a slice may end before the others
                yield logits_of(model, images, device), labels
    finally:
        model.train(was_training)
