"""Splits the training data into training and validation: a function of (data set, configuration, seed)."""

import fnmatch
import re
from collections.abc import Sequence

import torch
from torch import Tensor

from imclass.config.schema import DatasetConfig
from imclass.data.dataset import Dataset, Split
from imclass.data.folds import deal_into_folds, partition
from imclass.errors import UserError, counted

DEFAULT_VAL_SPLIT = DatasetConfig().val_split


def split_dataset(dataset: Dataset, config: DatasetConfig, seed: int) -> tuple[Split, Split, str]:
    """Return training split, validation split, and where the latter comes from (`Data.val_source`).

    Validation images are held out by `config.folds` or `config.val_split`, then `config.fraction` of the rest
    is kept. folds: one of that many equal parts of all images but those of the test, stratified.
    val_split: `test`; a list of patterns for the names in `dataset.train.files` ('data_batch_5',
    'train/*/1*.png'; `*` also matches slashes); else, unless the data set comes with validation images, a
    fraction in (0, 1) or a number of training images, stratified. Groups of images are kept whole, except by
    patterns and `fraction`. A smaller `fraction` is a subset of a larger one. All keep the original order
    and share memory with `dataset`, except where `folds` joins the images of two parts. Raises UserError on
    an empty split, labels out of range, and settings that cannot be met.
    """
    check_parts(dataset)
    generator = torch.Generator().manual_seed(seed)
    train = dataset.train if config.folds is None else _without_test(dataset)
    labels = train.labels
    if config.folds is not None:
        held = _fold(train, dataset.classes, config.folds, config.fold, generator)
        kept, val, source = ~held, _chosen(train, held), f"fold {config.fold} of {config.folds}, stratified"
    elif config.val_split == "test":
        kept, val, source = None, dataset.test, "test (tutorial style)"
    elif isinstance(config.val_split, list):
        held = _matching(train.files, config.val_split)
        kept, val, source = ~held, _chosen(train, held), f"files {', '.join(config.val_split)}"
    elif dataset.val is not None:
        unused = config.val_split != DEFAULT_VAL_SPLIT
        note = f" (dataset.val_split={config.val_split} has no effect)" if unused else ""
        kept, val, source = None, dataset.val, f"{dataset.val_name}{note}"
    else:
        count, source = _count(config.val_split, len(train))
        held = hold_out(labels, train.groups, dataset.classes, count, generator)
        kept, val = ~held, _chosen(train, held)
    if train.groups is not None and not isinstance(config.val_split, list):
        source += ", groups kept whole"
    kept = _keep_fraction(labels, kept, config.fraction, generator)
    return train if kept is None else _chosen(train, kept, train.skipped), val, source


def hold_out(
    labels: Tensor, groups: Tensor | None, classes: Sequence[str], count: int, generator: torch.Generator
) -> Tensor:
    """Choose `count` images, stratified, as a bool mask (N,); about as many where groups are kept whole.

    labels, groups: int64 (N,). Raises UserError where groups leave nothing to hold out, or nothing of a class
    to train on.
    """
    if groups is None:
        return stratified(labels, count, generator)
    share = count / len(labels)
    held = partition(labels, groups, [share, 1 - share], generator) == 0
    if not held.any():
        few = f"{counted(len(groups.unique()), 'group')} of {counted(len(labels), 'image')}"
        way = "add a column split (train, val or test) to the table"
        raise UserError(f"dataset: no group of {few} is small enough to hold out {count}; {way}")
    _require_every_class(labels, ~held, classes, "dataset")
    return held


def _fold(split: Split, classes: Sequence[str], folds: int, fold: int, generator: torch.Generator) -> Tensor:
    """Return the images of one fold as a bool mask (N,).

    Raises UserError where the fold is empty, or nothing of a class is left.
    """
    held = deal_into_folds(split.labels, split.groups, folds, generator) == fold
    if not held.any():
        few = "image" if split.groups is None else "group"
        raise UserError(f"dataset.folds={folds}: fold {fold} has no {few}; choose fewer folds")
    _require_every_class(split.labels, ~held, classes, f"dataset.folds={folds}")
    return held


def _require_every_class(labels: Tensor, kept: Tensor, classes: Sequence[str], setting: str) -> None:
    if lost := set(labels.tolist()) - set(labels[kept].tolist()):
        raise UserError(
            f"{setting}: would hold out all of {classes[min(lost)]!r}, which is one image or one group; "
            "nothing of it is left to train on"
        )


def _without_test(dataset: Dataset) -> Split:
    """Return training and validation images as one split."""
    train, val = dataset.train, dataset.val
    if val is None:
        return train
    files = None if train.files is None or val.files is None else train.files + val.files
    groups = None if train.groups is None or val.groups is None else torch.cat([train.groups, val.groups])
    images = torch.cat([train.images, val.images])
    labels = torch.cat([train.labels, val.labels])
    return Split(images, labels, files, train.skipped + val.skipped, groups)


def stratified(
    labels: Tensor, count: int, generator: torch.Generator, *, every_class: bool = False
) -> Tensor:
    """Choose exactly `count` of the labels at random, from each class in proportion to its size.

    labels: int64 (N,). Returns a bool mask (N,). Each class gets its exact share, rounded up or down,
    unless that would be all of its images while others have some to spare, or, with `every_class`, none.
    With the same generator state, a smaller choice is a subset of a larger one as far as shares allow.
    """
    sizes = torch.bincount(labels).tolist()
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    by_class = labels.argsort(stable=True).split(sizes)
    for indices, take in zip(by_class, _shares(sizes, count, int(every_class)), strict=True):
        order = torch.randperm(len(indices), generator=generator)
        chosen[indices[order[:take]]] = True
    return chosen


def _shares(sizes: list[int], count: int, least: int) -> list[int]:
    """Divide `count` in proportion to `sizes` by largest remainders; ties go to the first class.

    No share is below `least` or a whole class, as far as `count` allows.
    """
    total = sum(sizes)
    fewest = [min(size, least) for size in sizes]
    most = [max(size - 1, low) for size, low in zip(sizes, fewest, strict=True)]
    if sum(most) < count:
        most = sizes
    exact = [count * size / total for size in sizes]
    shares = [min(max(int(part), low), high) for part, low, high in zip(exact, fewest, most, strict=True)]
    while (missing := count - sum(shares)) != 0:
        step = 1 if missing > 0 else -1
        open_ = [i for i, share in enumerate(shares) if (share < most[i] if step > 0 else share > fewest[i])]
        if not open_:
            break  # `count` is below one image per class: every class keeps one
        shares[max(open_, key=lambda i: step * (exact[i] - shares[i]))] += step
    return shares


def check_parts(dataset: Dataset) -> None:
    """Raise UserError for a part without images, with another number of labels, or labels of no class."""
    for name, part in (("train", dataset.train), ("test", dataset.test), ("val", dataset.val)):
        if part is None:
            continue
        if not len(part):
            raise UserError(f"dataset: the {name} part has no images; at least 1 is needed")
        if part.rows is None and len(part.stored) != len(part):
            raise UserError(f"dataset: the {name} part has {len(part.stored)} images and {len(part)} labels")
        low, high = (int(bound) for bound in part.labels.aminmax())
        if low < 0 or high >= len(dataset.classes):
            raise UserError(
                f"dataset: labels of the {name} part go from {low} to {high}; "
                f"{len(dataset.classes)} classes allow 0 to {len(dataset.classes) - 1}"
            )


def _count(val_split: float, total: int) -> tuple[int, str]:
    """Return the number of validation images and the words for it."""
    count = round(val_split * total) if val_split < 1 else int(val_split)
    if not 0 < count < total:
        raise UserError(
            f"dataset.val_split={val_split}: takes {count} of {total} training images; "
            "at least 1 must be taken and 1 must stay"
        )
    words = f"{100 * val_split:.4g} %" if val_split < 1 else counted(count, "image")
    return count, f"stratified {words} of train"


def _matching(files: tuple[str, ...] | None, patterns: Sequence[str]) -> Tensor:
    """Return a bool mask of the files that match any pattern; each pattern must match some, none all."""
    setting = f"dataset.val_split=[{', '.join(patterns)}]"
    if files is None:
        raise UserError(f"{setting}: this data set has no file names; use a fraction or a count")
    known = dict.fromkeys(files)
    examples = ", ".join(list(known)[:5])
    matched: set[str] = set()
    for pattern in patterns:
        found = set(filter(re.compile(fnmatch.translate(pattern)).match, known))
        if not found:
            raise UserError(f"{setting}: {pattern!r} matches no file; there are {examples}, ...")
        matched |= found
    if len(matched) == len(known):
        raise UserError(f"{setting}: matches all {counted(len(known), 'file')}; nothing is left to train on")
    return torch.tensor([name in matched for name in files])


def _keep_fraction(
    labels: Tensor, kept: Tensor | None, fraction: float, generator: torch.Generator
) -> Tensor | None:
    """Narrow the mask `kept` (None: all) to a stratified `fraction` of it, at least one image per class."""
    if fraction == 1:
        return kept
    indices = torch.arange(len(labels)) if kept is None else kept.nonzero().flatten()
    chosen = stratified(labels[indices], round(fraction * len(indices)), generator, every_class=True)
    narrowed = torch.zeros(len(labels), dtype=torch.bool)
    narrowed[indices[chosen]] = True
    return narrowed


def _chosen(split: Split, mask: Tensor, skipped: tuple[str, ...] = ()) -> Split:
    return split.select(mask.nonzero().flatten(), skipped)
