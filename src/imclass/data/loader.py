"""Batches on the device, gathered from one uint8 tensor: no worker processes."""

import math
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Protocol

import torch
from torch import Tensor

from imclass.config.schema import Config
from imclass.data.augment import Augment, normalize
from imclass.data.dataset import Split, centre_of, resize_images
from imclass.data.draws import SliceGenerator
from imclass.data.order import balanced_order
from imclass.machine.device import Device, copy_to
from imclass.machine.randomness import derive_seed, generator

# Int64 indices (n,) into a split -> what the network is given, (n, ...), and int64 labels (n,); on the device
Inputs = Callable[[Tensor], tuple[Tensor, Tensor]]


class Images:
    """A split on the device, or in host memory if it does not fit, with its normalisation.

    size: height and width as the network sees them; each batch is resized to it, which takes no memory.
    mean, std: per channel, on a scale of 0 to 1. centre: share of the stored sides that evaluation sees.
    """

    def __init__(
        self,
        split: Split,
        device: Device,
        size: tuple[int, int],
        mean: list[float],
        std: list[float],
        centre: float = 1.0,
    ):
        self.size, self.centre = size, centre
        self.device = device
        self.split = split.on(device.device) if device.fits(split.nbytes) else split
        self.labels = self.split.labels
        self._mean = torch.tensor(mean, device=device.device)
        self._std = torch.tensor(std, device=device.device)

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `gather` does, the images normalised."""
        images, labels = self.gather(indices)
        return self.normalize(images), labels

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return uint8 images (n, C, *size) and int64 labels (n,) at int64 `indices` (n,), on the device."""
        images, labels = self.gather_stored(indices)
        return centre_of(images, self.centre, self.size), labels

    def gather_stored(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `gather` does, but the images as they are stored: with their margin, in their size."""
        at = copy_to(indices, self.labels.device)
        images, labels = self.split.take(at), self.labels.index_select(0, at)
        return copy_to(images, self.device.device), copy_to(labels, self.device.device)

    def normalize(self, images: Tensor) -> Tensor:
        """Return float32 images in the device's memory format, zero mean and unit variance."""
        channels_last = self.device.memory_format == torch.channels_last
        return normalize(images, self._mean, self._std, channels_last=channels_last)


class TrainLoader:
    """The training batches: `batch(step)` is a function of the seed and the step.

    Each epoch is a new permutation, or with `balance` draws every class equally often; an incomplete last
    batch is dropped. A rank gets its slice of the global batch, augmented as in one process.
    inputs: what `batch` returns in place of the images, which are then not augmented.
    """

    def __init__(
        self,
        images: Images,
        batch_size: int,
        augment: Augment,
        seed: int,
        *,
        balance: bool = False,
        inputs: Inputs | None = None,
    ):
        assert batch_size <= len(images)
        self.images, self.batch_size, self.augment, self.seed = images, batch_size, augment, seed
        self.inputs = inputs
        self.balance, self.steps_per_epoch = balance, len(images) // batch_size
        self._part = images.device.processes.slice_of(batch_size)
        count, labels = len(images), images.labels
        self._order = partial(balanced_order, labels.cpu()) if balance else partial(torch.randperm, count)
        self._order_of: tuple[int, Tensor] | None = None

    def indices(self, step: int) -> Tensor:
        """Return the indices (int64, (batch_size,)) into the training split of the global batch at `step`."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._order_of is None or self._order_of[0] != epoch:
            self._order_of = epoch, self._order(generator=generator(self.seed, "order", epoch))
        return self._order_of[1][position * self.batch_size : (position + 1) * self.batch_size]

    def batch(self, step: int, side: int | None = None) -> tuple[Tensor, Tensor]:
        """Return float32 images (n, C, H, W) and targets: int64 (n,), or float32 (n, classes) if mixed.

        n: this rank's share of the batch. side: of the images in pixels, if not that of the data set.
        """
        if self.inputs is not None:
            return self.inputs(self.indices(step)[self._part])
        images, labels, draws = self._augmented(step, self._part)
        if side is not None:
            images = resize_images(images, (side, side))
        return self.augment.mix(self.images.normalize(images), labels, draws)

    def samples(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the first uint8 images (n, C, H, W) that the network sees, and their targets; n <= count."""
        images, labels, draws = self._augmented(0, slice(0, min(count, self.batch_size)))
        images, targets = self.augment.mix(images.float(), labels, draws)
        return images.round().byte(), targets

    def _augmented(self, step: int, part: slice) -> tuple[Tensor, Tensor, SliceGenerator]:
        """Return the uint8 images and labels that `Augment.mix` makes `part` of a batch from, and draws."""
        positions = self.augment.positions(part, self.batch_size)
        draws = SliceGenerator(derive_seed(self.seed, "augment", step), self.batch_size, positions)
        indices = self.indices(step)[positions]
        if self.augment.config.resized_crop:
            images, labels = self.images.gather_stored(indices)
            images = self.augment.resized_crop(images, self.images.size, draws)
        else:
            images, labels = self.images.gather(indices)
        mirrored = self.mirrored(step, indices) if self.augment.config.flip == "alternating" else None
        return self.augment(images, draws, mirrored), labels, draws

    def mirrored(self, step: int, indices: Tensor) -> Tensor:
        """Return which images (bool) alternating flips mirror at `step` (Jordan 2024, arXiv:2404.00498).

        In epoch 0 a random half, from then on those that the epoch before did not: any two epochs in a row
        see both sides of each image.
        """
        return self._first_flips[indices] ^ (step // self.steps_per_epoch % 2 == 1)

    @cached_property
    def _first_flips(self) -> Tensor:
        return torch.randint(2, (len(self.images),), generator=generator(self.seed, "flip")).bool()


class EvalLoader:
    """All images of a split once, in order, not augmented; the last batch may be smaller.

    Each rank gets a contiguous slice of the split in the same number of batches, so that all can stop at
    the same one; where slices are uneven, the last batch of some ranks may be empty. inputs: in
    place of the images.
    """

    def __init__(self, images: Images, batch_size: int, inputs: Inputs | None = None):
        self.images, self.batch_size, self.inputs = images, batch_size, inputs or images.inputs
        self.processes = images.device.processes

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        part = self.processes.slice_of(len(self.images))
        longest = math.ceil(len(self.images) / self.processes.size)
        for start in range(part.start, part.start + longest, self.batch_size):
            indices = torch.arange(start, max(start, min(start + self.batch_size, part.stop)))
            yield self.inputs(indices)


class Preprocessing(Protocol):
    """How images become what a network sees, as the data of a run and a trained model know it."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def shape(self) -> tuple[int, int, int]: ...  # channels, height, width as the network sees them

    @property
    def mean(self) -> list[float]: ...  # per channel, on a scale of 0 to 1

    @property
    def std(self) -> list[float]: ...


def build_train_loader(split: Split, seen: Preprocessing, config: Config, device: Device) -> TrainLoader:
    """Return a split in the batches that `config` trains on."""
    augment = Augment(config.augment, len(seen.classes))
    size, balance = config.train.batch_size, config.dataset.balance
    return TrainLoader(_images(split, seen, config, device), size, augment, config.seed, balance=balance)


def build_eval_loader(split: Split, seen: Preprocessing, config: Config, device: Device) -> EvalLoader:
    """Return a split in the batches in which a run of `config` evaluates."""
    size = device.micro_batch or config.train.batch_size
    return EvalLoader(_images(split, seen, config, device), size)


def _images(split: Split, seen: Preprocessing, config: Config, device: Device) -> Images:
    return Images(split, device, seen.shape[1:], seen.mean, seen.std, config.dataset.centre)
