"""What every data set is in here: uint8 images, int64 labels, class names, one fingerprint."""

import hashlib
import json
from dataclasses import dataclass

from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

CHUNK = 4096  # images handled at once where the whole set would need too much extra memory


@dataclass(frozen=True, slots=True)
class Split:
    """One part of a data set. Treat the tensors as read-only: they may be a memory-mapped file."""

    images: Tensor  # uint8 (N, C, H, W)
    labels: Tensor  # int64 (N,), index into the class names
    files: tuple[str, ...] | None  # where each image came from ('data_batch_5', 'train/cat/7.png')

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A whole data set as its source has it; `imclass.data.splits` makes the parts a run uses."""

    train: Split
    test: Split
    val: Split | None  # only where the source has one
    classes: tuple[str, ...]
    fingerprint: str  # sha256 of the contents, see `fingerprint`


def make_dataset(train: Split, test: Split, classes: tuple[str, ...]) -> Dataset:
    """Return a data set of two parts with its fingerprint."""
    return Dataset(train, test, None, classes, fingerprint((train, test), classes))


def fingerprint(parts: tuple[Split | None, ...], classes: tuple[str, ...]) -> str:
    """Return the sha256 (hex) of shapes, class names, images and labels of all parts, in order.

    File names do not count: a copy of the data elsewhere has the same fingerprint.
    """
    shapes = [None if part is None else list(part.images.shape) for part in parts]
    digest = hashlib.sha256(json.dumps([shapes, classes]).encode())
    for part in parts:
        if part is not None:
            for tensor in (part.images, part.labels):
                digest.update(tensor.contiguous().numpy().data.cast("B"))
    return digest.hexdigest()


def resize_images(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return uint8 images (N, C, *size), bilinear and antialiased; the same object if nothing changes.

    images: uint8 (N, C, H, W). size: height and width in pixels.
    """
    if images.shape[-2:] == size:
        return images
    resized: Tensor = transforms.resize(images, list(size), InterpolationMode.BILINEAR, antialias=True)
    return resized
