"""Loss and accuracy of a model over a whole split."""

import torch
from torch import nn

from imclass.data.loader import EvalLoader
from imclass.device import Device
from imclass.losses import cross_entropy_sum
from imclass.metrics import Meter
from imclass.result import Result


@torch.inference_mode()
def evaluate(model: nn.Module, loader: EvalLoader, device: Device) -> Result:
    """Return the exact mean cross entropy (no smoothing) and accuracy over every image of `loader`.

    The model is left in the mode that it was in.
    """
    was_training = model.training
    model.eval()
    meter = Meter(device.device)
    for images, labels in loader:
        with device.autocast():
            logits = model(images).float()
        meter.update(cross_entropy_sum(logits, labels), logits, labels)
    model.train(was_training)
    return meter.compute()
