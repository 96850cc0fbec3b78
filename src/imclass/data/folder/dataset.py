"""A folder of images, or a table of them, in one of the layouts of `scan` and `table`.

The first time, every image is decoded, resized and cached; from then on the data set is one memory-mapped
array.
"""

import statistics
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imclass.config.data_root import is_table
from imclass.config.run_names import user_path
from imclass.config.schema import DatasetConfig
from imclass.data.dataset import Dataset, Split, fingerprint, side_with_margin
from imclass.data.few import chosen
from imclass.data.folder.cache import Part, Shape, cache_key, cached_images, cached_text, folder_key
from imclass.data.folder.damaged import how_to_skip, refuse_irregular, skip_damaged
from imclass.data.folder.decode import Header, colour_of, decode_image, read_header, read_images
from imclass.data.folder.listing import Listing, list_to_train
from imclass.data.folder.scan import ImageFile
from imclass.data.mapped import MappedFile
from imclass.data.splits import hold_out
from imclass.errors import UserError

DEFAULT_TEST_SPLIT = DatasetConfig().test_split
HOLD_OUT_SEED = 0  # the test set does not depend on the run's seed
SIDE_STEP, LEAST_SIDE, LARGEST_SIDE = 32, 32, 224  # where sizes differ


@dataclass(frozen=True, slots=True)
class _Part:
    files: list[ImageFile]
    labels: Tensor  # int64 (N,)
    skipped: tuple[str, ...] = ()
    groups: Tensor | None = None  # int64 (N,)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(file.name for file in self.files)


def load_image_folder(config: DatasetConfig) -> Dataset:
    """Load `config.root`: a folder as `scan` describes them, or a table as `table` does.

    Channels: 1 if all images are greyscale, else 3. Side: `config.resize`; else that of all images if they
    are squares of one size; else the median shorter side, rounded to a multiple of 32 in 32..224.
    Images are stored with the margin that `config.centre` leaves around that side.
    Without test images, a stratified `config.test_split` of the training images is held out with a fixed
    seed, groups as a whole. Damaged images are left out with `config.on_damaged` = skip. Raises UserError
    when the folder is missing or inconsistent, a class has no training images, or an image is damaged.
    """
    assert config.root is not None
    root = user_path(config.root)
    listing = list_to_train(root, f"dataset.root={config.root}")
    if config.at_most is not None:  # the others are not even decoded
        few = {name: _few_of(files, config.at_most) for name, files in listing.parts.items()}
        listing = listing._replace(parts=few)
    if config.on_damaged == "fail":
        refuse_irregular(listing)
    skipped = skip_damaged(listing) if config.on_damaged == "skip" else {}
    classes, groups = listing.classes, _group_numbers(listing)
    parts = {
        name: _Part(files, _tensor(file.label for file in files), skipped.get(name, ()), groups[name])
        for name, files in listing.parts.items()
    }
    column = f"split column of {root.name}" if is_table(root) else ""
    test_name = column or "test/ folder"
    if "test" not in parts:
        parts["train"], parts["test"] = _hold_out(parts["train"], config.test_split, classes)
        whole = "" if parts["test"].groups is None else ", groups kept whole"
        test_name = f"stratified {100 * config.test_split:.4g} % of train (dataset.test_split){whole}"
    elif config.test_split != DEFAULT_TEST_SPLIT:
        test_name += f" (dataset.test_split={config.test_split} has no effect)"
    files = list(chain.from_iterable(part.files for part in parts.values()))
    key = folder_key(listing.folder, [_stored_size(config), config.background], [file[:4] for file in files])
    images, file = _images(listing, files, config, key)
    counts = {name: len(part.files) for name, part in parts.items()}
    splits = {
        name: Split(own, part.labels, part.names, part.skipped, part.groups, mapped_from=file)
        for (name, part), own in zip(parts.items(), images.split(list(counts.values())), strict=True)
    }
    train, test, val = splits["train"], splits["test"], splits.get("val")
    # cached too: hashing the images of a large data set takes longer than all else here
    parameters = counts, classes, [file.group for file in files]
    digest = cached_text(cache_key(key, *parameters), lambda: fingerprint((train, test, val), classes))
    return Dataset(train, test, classes, val, digest, column or "val/ folder", test_name)


def _few_of(files: list[ImageFile], most: int) -> list[ImageFile]:
    indices = chosen(_tensor(file.label for file in files), most)
    return [files[index] for index in indices.tolist()]


def _group_numbers(listing: Listing) -> dict[str, Tensor | None]:
    """Return the number of each image's group, by part; None where the images are in no groups."""
    parts = listing.parts
    names = sorted({file.group for own in parts.values() for file in own})
    if names == [""]:
        return dict.fromkeys(parts)
    numbers = {name: number for number, name in enumerate(names)}
    return {part: _tensor(numbers[file.group] for file in own) for part, own in parts.items()}


def _tensor(numbers: Iterable[int]) -> Tensor:
    return torch.tensor([*numbers], dtype=torch.int64)


def _hold_out(part: _Part, fraction: float, classes: Sequence[str]) -> tuple[_Part, _Part]:
    count = round(fraction * len(part.files))
    if not 0 < count < len(part.files):
        raise UserError(
            f"dataset.test_split={fraction}: takes {count} of {len(part.files)} images as test images; "
            "at least 1 must be taken and 1 must stay"
        )
    generator = torch.Generator().manual_seed(HOLD_OUT_SEED)
    held = hold_out(part.labels, part.groups, classes, count, generator)
    return _chosen(part, ~held, part.skipped), _chosen(part, held, ())


def _chosen(part: _Part, mask: Tensor, skipped: tuple[str, ...]) -> _Part:
    files = [part.files[index] for index in mask.nonzero().flatten().tolist()]
    return _Part(files, part.labels[mask], skipped, None if part.groups is None else part.groups[mask])


def _stored_size(config: DatasetConfig) -> int | str | None:
    """Return what settings add to the key of the cache: the stored side, or how it follows the images."""
    if config.resize is not None:
        return side_with_margin(config.resize, config.centre)
    return f"centre {config.centre}" if config.centre < 1 else None


def _images(
    listing: Listing, files: Sequence[ImageFile], config: DatasetConfig, key: str
) -> tuple[Tensor, MappedFile | None]:
    """Return all images as uint8 (N, C, S, S), and the file in the cache that they are mapped from."""
    names = [file.name for file in files]
    read = partial(read_images, listing.folder, advice=how_to_skip(listing.root))

    def make() -> tuple[Shape, Part]:
        headers = read(names, read_header)
        channels = 1 if all(header.grey for header in headers) else 3
        size = config.resize if config.resize is not None else _common_side(headers)
        size = side_with_margin(size, config.centre)
        background = colour_of(config.background)
        decode = partial(decode_image, size=size, channels=channels, background=background)

        def part(start: int, stop: int) -> NDArray[np.uint8]:
            return np.stack(read(names[start:stop], decode))

        return (len(files), channels, size, size), part

    array, file = cached_images(key, make)
    with warnings.catch_warnings():  # torch warns that it has no read-only tensors
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array), file


def _common_side(headers: Sequence[Header]) -> int:
    first = headers[0]
    if first.width == first.height and all(header[1:] == first[1:] for header in headers):
        return first.width
    median = statistics.median(min(header.width, header.height) for header in headers)
    return min(max(round(median / SIDE_STEP) * SIDE_STEP, LEAST_SIDE), LARGEST_SIDE)
