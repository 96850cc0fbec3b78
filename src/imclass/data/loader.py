"""Batches on the device, straight from one uint8 tensor: no worker processes, nothing to wait for."""

from collections.abc import Iterator

import torch
from torch import Tensor

from imclass.data.augment import Augment, normalize
from imclass.data.base import Split, resize_images
from imclass.device import Device
from imclass.reproducibility import generator


class Images:
    """A split on the device (or in memory, if the device has no room), its size and its normalisation.

    size: height and width of the images as the network sees them; a batch is resized when it is gathered,
    so that large images of a small data set take no memory. mean, std: per channel, on a scale of 0 to 1.
    """

    def __init__(
        self, split: Split, device: Device, size: tuple[int, int], mean: list[float], std: list[float]
    ):
        resident = device.fits(split.images.nbytes)
        self.size = size
        self.device = device
        self.images = split.images.to(device.device) if resident else split.images
        self.labels = split.labels.to(self.images.device)
        self._mean = torch.tensor(mean, device=device.device)
        self._std = torch.tensor(std, device=device.device)

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return uint8 images (n, C, H, W) and int64 labels (n,) at int64 `indices` (n,), on the device."""
        at = indices.to(self.images.device)
        target = self.device.device
        images = self.images[at].to(target, non_blocking=True)
        return resize_images(images, self.size), self.labels[at].to(target, non_blocking=True)

    def normalize(self, images: Tensor) -> Tensor:
        """Return float32 images in the device's memory format, zero mean and unit variance."""
        channels_last = self.device.memory_format == torch.channels_last
        return normalize(images, self._mean, self._std, channels_last=channels_last)


class TrainLoader:
    """The training batches: `batch(step)` depends on the seed and the step alone.

    Each epoch is a permutation of its own; a last batch that would not be full is left out.
    """

    def __init__(self, images: Images, batch_size: int, augment: Augment, seed: int):
        assert batch_size <= len(images)
        self.images, self.batch_size, self.augment, self.seed = images, batch_size, augment, seed
        self.steps_per_epoch = len(images) // batch_size
        self._order_of: tuple[int, Tensor] | None = None

    def indices(self, step: int) -> Tensor:
        """Return the int64 positions (batch_size,) of the images of `step` in the training split."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._order_of is None or self._order_of[0] != epoch:
            order = torch.randperm(len(self.images), generator=generator(self.seed, "order", epoch))
            self._order_of = epoch, order
        return self._order_of[1][position * self.batch_size : (position + 1) * self.batch_size]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return augmented float32 images (N, C, H, W) and labels: int64 (N,), or soft (N, classes)."""
        draws = generator(self.seed, "augment", step)
        images, labels = self.images.gather(self.indices(step))
        images = self.images.normalize(self.augment(images, draws))
        return self.augment.mix(images, labels, draws)

    def samples(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the first uint8 images (n, C, H, W) as the network sees them, and labels; n <= count."""
        images, labels = self.images.gather(self.indices(0)[:count])
        return self.augment(images, generator(self.seed, "augment", 0)), labels


class EvalLoader:
    """All images of a split once, in order, not augmented; the last batch may be smaller."""

    def __init__(self, images: Images, batch_size: int):
        self.images, self.batch_size = images, batch_size

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for indices in torch.arange(len(self.images)).split(self.batch_size):
            images, labels = self.images.gather(indices)
            yield self.images.normalize(images), labels
