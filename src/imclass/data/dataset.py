"""Images in memory: a split, a data set as its loader returns it, and the data that a run uses."""

import hashlib
import json
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

CHUNK = 4096  # images handled at once where the whole set would need too much extra memory


@dataclass(frozen=True, slots=True)
class Split:
    """Images and labels. Treat the tensors as read-only: they may be a memory-mapped file."""

    images: Tensor  # uint8 (N, C, H, W)
    labels: Tensor  # int64 (N,), index into the class names
    files: tuple[str, ...] | None = None  # where each came from ('data_batch_5', 'train/cat/7.png')
    skipped: tuple[str, ...] = ()  # damaged images that are left out: 'train/cat/8.png: truncated'
    groups: Tensor | None = None  # int64 (N,): of one number, all are to be in one split

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(slots=True)
class Dataset:
    """What the loader of a data set returns: images in their own size, not normalised or shuffled."""

    train: Split
    test: Split
    classes: tuple[str, ...]
    val: Split | None = None  # only where the data set comes with one
    fingerprint: str = ""  # computed unless given
    val_name: str = "val/ folder"  # where `val` comes from
    test_name: str = ""  # where `test` does; "": it is the data set's own

    def __post_init__(self) -> None:
        if not self.fingerprint:
            parts = (self.train, self.test) if self.val is None else (self.train, self.test, self.val)
            self.fingerprint = fingerprint(parts, self.classes)


@dataclass(frozen=True, slots=True)
class Data:
    """What a run trains, validates and tests on."""

    train: Split
    val: Split  # the same object as `test` with dataset.val_split=test
    test: Split
    val_source: str  # 'stratified 10 % of train', 'test (tutorial style)', 'files ...', 'val/ folder'
    classes: tuple[str, ...]
    shape: tuple[int, int, int]  # channels, height, width as the network sees them
    mean: list[float]  # per channel, on a scale of 0 to 1
    std: list[float]
    fingerprint: str  # of the whole data set
    test_source: str = ""  # 'stratified 10 % of train (dataset.test_split)', 'test/ folder'; "": its own

    @property
    def images_per_class(self) -> list[int]:
        """How many training images each class has, in the order of the classes."""
        counts: list[int] = torch.bincount(self.train.labels, minlength=len(self.classes)).tolist()
        return counts

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by name, each once: without `val` where that is `test`."""
        val = {} if self.val is self.test else {"val": self.val}
        return {"train": self.train, **val, "test": self.test}

    @property
    def skipped(self) -> dict[str, int]:
        """How many damaged images each split is left without; only splits that are."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: len(split.skipped) for name, split in splits.items() if split.skipped}


def fingerprint(parts: tuple[Split | None, ...], classes: tuple[str, ...]) -> str:
    """Return the sha256 (hex) of shapes, class names, images, labels and groups of all parts, in order.

    File names do not count: a copy of the data elsewhere has the same fingerprint.
    """
    shapes = [None if part is None else list(part.images.shape) for part in parts]
    digest = hashlib.sha256(json.dumps([shapes, classes]).encode())
    for part in parts:
        if part is not None:
            groups = () if part.groups is None else (part.groups,)
            for tensor in (*part.images.split(CHUNK), part.labels, *groups):  # signals are answered meanwhile
                digest.update(tensor.reshape(-1).numpy().data)
    return digest.hexdigest()


def channel_mean_std(images: Tensor) -> tuple[list[float], list[float]]:
    """Return each channel's mean and (population) standard deviation on a scale of 0 to 1.

    images: uint8 (N, C, H, W), on any device. Exact: the values are counted, in chunks. A channel
    without contrast has a standard deviation of 0.
    """
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for chunk in images.split(CHUNK):
        for channel, values in enumerate(chunk.unbind(1)):
            counts[channel] += torch.bincount(values.flatten(), minlength=256).cpu()
    weights = counts.double() / counts.sum(1, keepdim=True)
    scale = torch.arange(256, dtype=torch.float64) / 255
    mean = weights @ scale
    variance = (weights * (scale - mean[:, None]).square()).sum(1)
    return mean.tolist(), variance.sqrt().tolist()


def side_with_margin(side: int, centre: float) -> int:
    """Return the side in pixels at which pictures are stored so that their `centre` is `side` wide."""
    return round(side / centre)


def centre_of(images: Tensor, centre: float, size: tuple[int, int]) -> Tensor:
    """Return the centre of stored images, resized to `size` where it has another one.

    images: uint8 (N, C, H, W). centre: share of their sides. size: height and width in pixels.
    """
    if centre < 1:
        images = transforms.center_crop(images, [round(side * centre) for side in images.shape[2:]])
    return resize_images(images, size)


def resize_images(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return uint8 images (N, C, *size), bilinear and antialiased; the same object if nothing changes.

    images: uint8 (N, C, H, W). size: height and width in pixels.
    """
    if images.shape[-2:] == size:
        return images
    resized: Tensor = transforms.resize(images, list(size), InterpolationMode.BILINEAR, antialias=True)
    return resized
