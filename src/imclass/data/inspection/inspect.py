"""Looks at every picture of a folder, a table or a named data set, and sums up what there is."""

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from imclass.config.schema import DatasetConfig
from imclass.data.folder.decode import decode_image, read_files
from imclass.data.folder.verify import Labelled, contents_of
from imclass.data.inspection.copies import exact_copies, near_copies
from imclass.data.inspection.giveaways import Giveaway, giveaways
from imclass.data.inspection.look import Look, look_at_file, look_at_pixels
from imclass.data.verify import Problem

PARTS = ("train", "val", "test")
DARK = 0x4000  # a quarter of 16 bits: cameras and scanners of 10 or 12 bits stay below
Progress = Callable[[Iterator[Look | str], int], Iterable[Look | str]]


class Copies(NamedTuple):
    """Pictures that are the same, or nearly."""

    names: tuple[str, ...]
    parts: tuple[str, ...]  # that they are in
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a data set; plain values, but for named tuples."""

    images: int  # with those that cannot be read
    counts: dict[str, dict[str, int]]  # class -> part -> images
    groups: int  # of pictures that stay in one split
    sizes: dict[str, int]  # "64x48" -> images, the most frequent first
    shorter_side: int  # the median
    formats: dict[str, int]
    modes: dict[str, int]
    transparent: int
    dark: int  # pictures of 16 bits with no value of `DARK` or more
    brightest: int  # the largest value in those
    problems: list[Problem]  # damaged files among them
    damaged: int
    ignored: int  # files that training passes over
    copies: list[Copies]  # the same bytes
    near_copies: list[Copies]
    giveaways: list[Giveaway]

    @property
    def parts(self) -> list[str]:
        return [part for part in PARTS if any(part in own for own in self.counts.values())]

    @property
    def train(self) -> dict[str, int]:
        """Training images of each class that has some."""
        return {name: own["train"] for name, own in self.counts.items() if own.get("train")}

    @property
    def uneven(self) -> float:
        """How many times as many training images the largest class has as the smallest."""
        return max(self.train.values(), default=1) / min(self.train.values(), default=1)

    @property
    def deep(self) -> int:
        """How many pictures have 16 bits in one channel; of more channels, Pillow reads 8."""
        return sum(count for mode, count in self.modes.items() if mode.startswith("I"))

    @property
    def grey(self) -> bool:
        return self.modes.keys() <= {"1", "L", "LA", "I", "I;16"}


@dataclass(frozen=True, slots=True)
class Inspection:
    facts: Facts
    pictures: Sequence[Labelled]  # that can be read
    read: Callable[[int, int], NDArray[np.uint8]]  # a picture, by its index, as (3, side, side)


def inspect_folder(root: Path, progress: Progress) -> Inspection:
    """Inspect a folder in one of `scan`'s layouts, or a table. Raises UserError as `contents_of` does.

    progress: is handed what is seen of each picture and their number.
    """
    contents = contents_of(root)
    images, folder = contents.images, contents.folder
    names = [image.name for image in images]
    looks = progress(read_files(names, lambda name: look_at_file(folder / name)), len(names))
    seen = [*zip(images, looks, strict=True)]
    damaged = [Problem(image.name, look) for image, look in seen if isinstance(look, str)]
    whole = [(image, look) for image, look in seen if not isinstance(look, str)]
    pictures = [image for image, _ in whole]
    problems = list(dict.fromkeys([*contents.problems, *damaged]))
    counts = _counts(contents.classes, images)
    ignored = len(contents.ignored)
    facts = _facts(counts, pictures, [look for _, look in whole], problems, len(damaged), ignored)

    def read(index: int, side: int) -> NDArray[np.uint8]:
        return decode_image(folder / pictures[index].name, side, channels=3)

    return Inspection(facts, pictures, read)


def inspect_named(name: str, root: str | None, progress: Progress) -> Inspection:
    """Inspect a data set by its name, without downloading it. Raises UserError as `load_dataset` does."""
    from imclass.data.datasets import load_dataset
    from imclass.data.splits import check_parts

    dataset = load_dataset(DatasetConfig(name=name, root=root, download=False))
    check_parts(dataset)
    splits = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    pictures: list[Labelled] = []
    arrays: list[NDArray[np.uint8]] = []
    for part, split in splits.items():
        if split is not None:
            labels = [dataset.classes[label] for label in split.labels.tolist()]
            pictures += [Labelled(f"{part}/{index}", part, label) for index, label in enumerate(labels)]
            arrays += [*split.images.numpy()]
    mode = "L" if len(arrays[0]) == 1 else "RGB"
    looks = progress(map(look_at_pixels, arrays), len(arrays))
    whole = [look._replace(mode=mode) for look in looks if isinstance(look, Look)]
    facts = _facts(_counts(dataset.classes, pictures), pictures, whole, [], 0, 0)
    return Inspection(facts, pictures, partial(_as_stored, arrays))


def _counts(classes: Sequence[str], images: Sequence[Labelled]) -> dict[str, dict[str, int]]:
    """Return {class: {part: images}}, the classes of the training part first."""
    counts: dict[str, dict[str, int]] = {name: {} for name in classes}
    for image in images:
        own = counts.setdefault(image.label, {})
        own[image.part] = own.get(image.part, 0) + 1
    return counts


def _as_stored(arrays: Sequence[NDArray[np.uint8]], index: int, side: int) -> NDArray[np.uint8]:
    return arrays[index]


def _facts(
    counts: dict[str, dict[str, int]],
    pictures: Sequence[Labelled],
    looks: Sequence[Look],
    problems: list[Problem],
    damaged: int,
    ignored: int,
) -> Facts:
    sizes = [f"{look.width}x{look.height}" for look in looks]
    trained = [look for picture, look in zip(pictures, looks, strict=True) if picture.part == "train"]
    same = exact_copies([look.digest for look in looks])
    again = {index for group in same for index in group[1:]}
    once = [index for index in range(len(looks)) if index not in again]
    near = near_copies(np.stack([looks[index].thumbnail for index in once])) if once else []
    dark = [look.brightest for look in looks if look.brightest is not None and look.brightest < DARK]
    traits = {
        "size": [f"{look.width}x{look.height}" for look in trained],
        "format": [look.format for look in trained],
        "mode": [look.mode for look in trained],
        "border": [look.border for look in trained],
    }
    return Facts(
        images=len(pictures) + damaged,
        counts=counts,
        groups=len({picture.group for picture in pictures} - {""}),
        sizes=_counted(sizes),
        shorter_side=round(statistics.median([min(look.width, look.height) for look in looks] or [0])),
        formats=_counted(look.format for look in looks if look.format),
        modes=_counted(look.mode for look in looks),
        transparent=sum(look.transparent for look in looks),
        dark=len(dark),
        brightest=max(dark, default=0),
        problems=problems,
        damaged=damaged,
        ignored=ignored,
        copies=[_copies(pictures, group) for group in same],
        near_copies=[_copies(pictures, [once[index] for index in group]) for group in near],
        giveaways=giveaways([picture.label for picture in pictures if picture.part == "train"], traits),
    )


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _copies(pictures: Sequence[Labelled], group: Sequence[int]) -> Copies:
    own = [pictures[index] for index in group]
    parts = tuple(part for part in PARTS if any(picture.part == part for picture in own))
    return Copies(tuple(p.name for p in own), parts, tuple(sorted({p.label for p in own})))
