"""A folder of images: ROOT/{train,val,test}/<class>/**, or ROOT/<class>/** with a test set held out.

The first time, every image is decoded, resized and cached; from then on the data set is one memory-mapped
array.
"""

import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imclass.config.schema import DatasetConfig
from imclass.data.dataset import Dataset, Split, fingerprint, side_with_margin
from imclass.data.few import chosen
from imclass.data.folder.cache import Part, Shape, cache_key, cached_images, cached_text, folder_key
from imclass.data.folder.damaged import how_to_skip, skip_damaged
from imclass.data.folder.decode import Header, decode_image, read_header, read_images
from imclass.data.folder.scan import ImageFile, scan_to_train
from imclass.data.splits import stratified
from imclass.errors import UserError

HOLD_OUT_SEED = 0  # the test set does not depend on the run's seed
SIDE_STEP, LEAST_SIDE, LARGEST_SIDE = 32, 32, 224  # where sizes differ


@dataclass(frozen=True, slots=True)
class _Part:
    files: list[ImageFile]
    labels: Tensor  # int64 (N,)
    skipped: tuple[str, ...] = ()


def load_image_folder(config: DatasetConfig) -> Dataset:
    """Load `config.root`, in one of the layouts that `scan` describes.

    Channels: 1 if all images are greyscale, else 3. Side: `config.resize`; else that of all images if they
    are squares of one size; else the median shorter side, rounded to a multiple of 32 in 32..224.
    Images are stored with the margin that `config.centre` leaves around that side.
    Without test images, a stratified `config.test_split` of the training images is held out with a fixed
    seed. Damaged images are left out with `config.on_damaged` = skip. Raises UserError when the folder is
    missing or inconsistent, a class has no training images, or an image is damaged.
    """
    assert config.root is not None
    root = Path(config.root).expanduser()
    classes, found = scan_to_train(root, f"dataset.root={config.root}")
    if config.at_most is not None:  # the others are not even decoded
        found = {name: _few_of(files, config.at_most) for name, files in found.items()}
    skipped = skip_damaged(root, found, classes) if config.on_damaged == "skip" else {}
    parts = {
        name: _Part(
            files, torch.tensor([file.label for file in files], dtype=torch.int64), skipped.get(name, ())
        )
        for name, files in found.items()
    }
    if "test" not in parts:
        parts["train"], parts["test"] = _hold_out(parts["train"], config.test_split)
    files = list(chain.from_iterable(part.files for part in parts.values()))
    key = folder_key(root, _stored_size(config), files)
    images = _images(root, files, config, key)
    counts = {name: len(part.files) for name, part in parts.items()}
    splits = {
        name: Split(own, part.labels, tuple(file.name for file in part.files), part.skipped)
        for (name, part), own in zip(parts.items(), images.split(list(counts.values())), strict=True)
    }
    train, test, val = splits["train"], splits["test"], splits.get("val")
    # cached too: hashing the images of a large data set takes longer than all else here
    digest = cached_text(cache_key(key, counts, classes), lambda: fingerprint((train, test, val), classes))
    return Dataset(train, test, classes, val, digest)


def _few_of(files: list[ImageFile], most: int) -> list[ImageFile]:
    indices = chosen(torch.tensor([file.label for file in files], dtype=torch.int64), most)
    return [files[index] for index in indices.tolist()]


def _hold_out(part: _Part, fraction: float) -> tuple[_Part, _Part]:
    count = round(fraction * len(part.files))
    if not 0 < count < len(part.files):
        raise UserError(
            f"dataset.test_split={fraction}: takes {count} of {len(part.files)} images as test images; "
            "at least 1 must be taken and 1 must stay"
        )
    held = stratified(part.labels, count, torch.Generator().manual_seed(HOLD_OUT_SEED))
    train, test = (
        _Part([part.files[index] for index in mask.nonzero().flatten().tolist()], part.labels[mask], skipped)
        for mask, skipped in ((~held, part.skipped), (held, ()))
    )
    return train, test


def _stored_size(config: DatasetConfig) -> int | str | None:
    """Return what settings add to the key of the cache: the stored side, or how it follows the images."""
    if config.resize is not None:
        return side_with_margin(config.resize, config.centre)
    return f"centre {config.centre}" if config.centre < 1 else None


def _images(root: Path, files: Sequence[ImageFile], config: DatasetConfig, key: str) -> Tensor:
    """Return all images as uint8 (N, C, S, S), from the cache if they are there."""
    names = [file.name for file in files]

    def make() -> tuple[Shape, Part]:
        headers = read_images(root, names, read_header, how_to_skip(root))
        channels = 1 if all(header.grey for header in headers) else 3
        size = config.resize if config.resize is not None else _common_side(headers)
        size = side_with_margin(size, config.centre)
        decode = partial(decode_image, size=size, channels=channels)

        def part(start: int, stop: int) -> NDArray[np.uint8]:
            return np.stack(read_images(root, names[start:stop], decode, how_to_skip(root)))

        return (len(files), channels, size, size), part

    array = cached_images(key, make)
    with warnings.catch_warnings():  # torch warns that it has no read-only tensors
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _common_side(headers: Sequence[Header]) -> int:
    first = headers[0]
    if first.width == first.height and all(header[1:] == first[1:] for header in headers):
        return first.width
    median = statistics.median(min(header.width, header.height) for header in headers)
    return min(max(round(median / SIDE_STEP) * SIDE_STEP, LEAST_SIDE), LARGEST_SIDE)
