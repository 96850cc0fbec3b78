"""A folder of images: ROOT/{train,val,test}/<class>/**, or ROOT/<class>/** with a test part held out.

The first time, every image is decoded, brought to one size and kept (see `image_cache`); from then on
the set is one memory-mapped array.
"""

import os
import statistics
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from torch import Tensor

from imclass.config.schema import DatasetConfig
from imclass.data.dataset import Dataset, Split, fingerprint
from imclass.data.folder.cache import Shape, cache_key, cached_images, cached_text
from imclass.data.folder.decode import Header, decode_image, read_header, strict_images
from imclass.data.folder.scan import ImageFile, scan_folder
from imclass.data.splits import stratified
from imclass.errors import UserError

FORMAT = 1  # raise it when the same files would give other pixels
HOLD_OUT_SEED = 0  # the test part belongs to the data, not to the run's seed
AT_ONCE = 512  # images between two writes
PER_TASK = 32  # images a thread takes at once
SIDE_STEP, LEAST_SIDE, LARGEST_SIDE = 32, 32, 224  # where the sides differ

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Part:
    files: list[ImageFile]
    labels: Tensor  # int64 (N,)


def load_image_folder(config: DatasetConfig) -> Dataset:
    """Load `config.root`; the layouts are described in `folder_scan`.

    Grey images only give 1 channel, else 3. Side: `config.resize`; else the side of all if they are
    squares of one size; else the median of the shorter sides, rounded to a multiple of 32 in 32..224.
    Without test images, a stratified `config.test_split` of the training images is held out with a
    fixed seed. Raises UserError on a folder that is missing or inconsistent, a class without training
    images, and on damaged images.
    """
    assert config.root is not None
    root = Path(config.root).expanduser()
    classes, found = scan_folder(root, f"dataset.root={config.root}")
    parts = {
        name: _Part(files, torch.tensor([file.label for file in files], dtype=torch.int64))
        for name, files in found.items()
    }
    if empty := set(range(len(classes))) - set(parts["train"].labels.tolist()):
        raise UserError(
            f"{root}: no image of {classes[min(empty)]!r} to train on; add some or remove its folder"
        )
    if "test" not in parts:
        parts["train"], parts["test"] = _hold_out(parts["train"], config.test_split)
    files = list(chain.from_iterable(part.files for part in parts.values()))
    key = cache_key(FORMAT, PIL.__version__, str(root.resolve()), config.resize, files)
    images = _images(root, files, config.resize, key)
    splits: dict[str, Split] = {}
    start = 0
    for name, part in parts.items():
        stop = start + len(part.files)
        splits[name] = Split(images[start:stop], part.labels, tuple(file.name for file in part.files))
        start = stop
    train, test, val = splits["train"], splits["test"], splits.get("val")
    # kept as well: hashing a large set's images takes longer than all else here
    counts = {name: len(part.files) for name, part in parts.items()}
    digest = cached_text(cache_key(key, counts, classes), lambda: fingerprint((train, test, val), classes))
    return Dataset(train, test, classes, val, digest)


def _hold_out(part: _Part, fraction: float) -> tuple[_Part, _Part]:
    count = round(fraction * len(part.files))
    if not 0 < count < len(part.files):
        raise UserError(
            f"dataset.test_split={fraction}: takes {count} of {len(part.files)} images as test images; "
            "at least 1 must be taken and 1 must stay"
        )
    held = stratified(part.labels, count, torch.Generator().manual_seed(HOLD_OUT_SEED))
    train, test = (
        _Part([part.files[index] for index in mask.nonzero().flatten().tolist()], part.labels[mask])
        for mask in (~held, held)
    )
    return train, test


def _images(root: Path, files: Sequence[ImageFile], resize: int | None, key: str) -> Tensor:
    """Return all images as uint8 (N, C, S, S), from the cache where they are in it."""

    def make() -> tuple[Shape, Iterator[NDArray[np.uint8]]]:
        headers = _parallel(lambda file: _named(file, lambda: read_header(root / file.name)), files)
        channels = 1 if all(header.grey for header in headers) else 3
        size = resize if resize is not None else _common_side(headers)
        return (len(files), channels, size, size), _decoded(root, files, size, channels)

    array = cached_images(key, make)
    with warnings.catch_warnings():  # torch has no read-only tensors and says so
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _decoded(root: Path, files: Sequence[ImageFile], size: int, channels: int) -> Iterator[NDArray[np.uint8]]:
    def decode(file: ImageFile) -> NDArray[np.uint8]:
        return _named(file, lambda: decode_image(root / file.name, size, channels))

    for start in range(0, len(files), AT_ONCE):
        yield np.stack(_parallel(decode, files[start : start + AT_ONCE]))


def _named(file: ImageFile, read: Callable[[], Result]) -> Result:
    try:
        return read()
    except UserError as error:
        raise UserError(
            f"{file.name}: damaged or unreadable image ({error}); replace or delete it"
        ) from error


def _parallel(function: Callable[[ImageFile], Result], files: Sequence[ImageFile]) -> list[Result]:
    """Return function(file) for each file; as many threads as cores, since decoders release the GIL."""
    tasks = [files[start : start + PER_TASK] for start in range(0, len(files), PER_TASK)]
    with strict_images(), ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            results = pool.map(lambda task: [function(file) for file in task], tasks)
            return list(chain.from_iterable(results))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)  # after a failure, do not decode the rest


def _common_side(headers: Sequence[Header]) -> int:
    first = headers[0]
    if first.width == first.height and all(header[1:] == first[1:] for header in headers):
        return first.width
    median = statistics.median(min(header.width, header.height) for header in headers)
    return min(max(round(median / SIDE_STEP) * SIDE_STEP, LEAST_SIDE), LARGEST_SIDE)
