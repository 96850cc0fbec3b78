"""How long a network trains on an image, measured by a few steps on noise."""

import time

import torch

from imclass.config.schema import DeviceConfig, ModelConfig
from imclass.machine.device import resolve_device
from imclass.models import build_model

STEPS, IMAGES = 2, 8  # measured; on a GPU, in whole batches


def seconds_per_image(shape: tuple[int, int, int], classes: int, batch: int, device: str) -> float:
    """Return the seconds that the default model trains on an image (channels, height, width)."""
    chosen = resolve_device(DeviceConfig(type=device), steps=STEPS)
    network = build_model(ModelConfig(), in_channels=shape[0], classes=classes, size=shape[1])
    network = network.to(chosen.device).to(memory_format=chosen.memory_format)
    batch = min(batch, IMAGES) if device == "cpu" else batch
    images = torch.randn(batch, *shape, device=chosen.device).to(memory_format=chosen.memory_format)
    labels = torch.zeros(batch, dtype=torch.int64, device=chosen.device)
    started = 0.0
    for step in range(STEPS + 1):
        if step == 1:  # the first sets up kernels and memory
            started = time.monotonic()
        with chosen.autocast():
            loss = torch.nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        loss.item()  # waits for the device
    return (time.monotonic() - started) / (STEPS * batch)
