"""Images in memory: a split, a data set as its loader returns it, and the data that a run uses."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from imclass.data.mapped import MappedFile

CHUNK = 4096  # images handled at once where the whole set would need too much extra memory


@dataclass(frozen=True, slots=True)
class Split:
    """Images and labels. Treat the tensors as read-only: they may be a memory-mapped file."""

    stored: Tensor  # uint8 (M, C, H, W): the images, and perhaps those of other splits
    labels: Tensor  # int64 (N,), index into the class names
    files: tuple[str, ...] | None = None  # where each came from ('data_batch_5', 'train/cat/7.png')
    skipped: tuple[str, ...] = ()  # damaged images that are left out: 'train/cat/8.png: truncated'
    groups: Tensor | None = None  # int64 (N,): of one number, all are to be in one split
    rows: Tensor | None = None  # int64 (N,): where the images are in `stored`; None: they are all of it
    mapped_from: MappedFile | None = None  # the file that `stored` is a part of

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def nbytes(self) -> int:
        """The size of the images in bytes."""
        return len(self) * self.stored[:1].nbytes

    @property
    def images(self) -> Tensor:
        """All images, uint8 (N, C, H, W): a copy where they are stored among others."""
        return self.stored if self.rows is None else self.stored.index_select(0, self.rows)

    def take(self, indices: Tensor) -> Tensor:
        """Return uint8 images (n, C, H, W) at int64 `indices` (n,), which are on the device of the labels."""
        rows = indices if self.rows is None else self.rows.index_select(0, indices)
        if self.mapped_from is not None:
            self.mapped_from.read_ahead(self.stored, rows)
        return self.stored.index_select(0, rows)

    def chunks(self) -> Iterator[Tensor]:
        """Yield all images in order, uint8 (n, C, H, W), at most `CHUNK` at once."""
        if self.rows is None:
            yield from self.stored.split(CHUNK)
        else:
            for rows in self.rows.split(CHUNK):
                yield self.stored.index_select(0, rows)

    def select(self, indices: Tensor, skipped: tuple[str, ...] = ()) -> "Split":
        """Return the images at int64 `indices` (n,) as a split that shares their memory with this one."""
        files = None if self.files is None else tuple(self.files[index] for index in indices.tolist())
        groups = None if self.groups is None else self.groups[indices]
        rows = indices if self.rows is None else self.rows[indices]
        return Split(self.stored, self.labels[indices], files, skipped, groups, rows, self.mapped_from)

    def on(self, device: torch.device) -> "Split":
        """Return the split in the memory of a device; the same object if it is there."""
        if self.stored.device == device:
            return self
        copied = torch.empty(len(self), *self.stored.shape[1:], dtype=self.stored.dtype, device=device)
        for part, chunk in zip(copied.split(CHUNK), self.chunks(), strict=True):
            part.copy_(chunk)
        return Split(copied, self.labels.to(device), self.files, self.skipped, self.groups)


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
    shapes = [None if part is None else [len(part), *part.stored.shape[1:]] for part in parts]
    digest = hashlib.sha256(json.dumps([shapes, classes]).encode())
    for part in parts:
        if part is not None:
            groups = () if part.groups is None else (part.groups,)
            for tensor in chain(part.chunks(), [part.labels], groups):  # signals are answered meanwhile
                digest.update(tensor.reshape(-1).numpy().data)
    return digest.hexdigest()


def channel_mean_std(split: Split) -> tuple[list[float], list[float]]:
    """Return each channel's mean and (population) standard deviation on a scale of 0 to 1.

    Exact: the values are counted, in chunks. A channel without contrast has a standard deviation of 0.
    """
    counts = torch.zeros(split.stored.shape[1], 256, dtype=torch.int64)
    for chunk in split.chunks():
        for channel, values in enumerate(chunk.unbind(1)):
            counts[channel] += torch.bincount(values.flatten(), minlength=256)
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
