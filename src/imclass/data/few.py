"""dataset.at_most: a few images of each part of a data set, the same each time."""

import torch
from torch import Tensor

from imclass.data.dataset import Dataset, Split
from imclass.data.splits import stratified


def chosen(labels: Tensor, most: int) -> Tensor:
    """Return the indices (int64, rising) of at most `most` images, from each class in proportion.

    labels: int64 (N,). Every class keeps one image, even where `most` is below their number.
    """
    if len(labels) <= most:
        return torch.arange(len(labels))
    mask = stratified(labels, most, torch.Generator().manual_seed(0), every_class=True)
    return mask.nonzero().flatten()


def with_few_images(dataset: Dataset, most: int) -> Dataset:
    """Return the data set with what `chosen` picks of each part; the same object if that is all."""
    parts = dataset.train, dataset.test, dataset.val
    if all(part is None or len(part) <= most for part in parts):
        return dataset
    train, test = (_few_of(part, most) for part in (dataset.train, dataset.test))
    val = dataset.val and _few_of(dataset.val, most)
    return Dataset(train, test, dataset.classes, val, val_name=dataset.val_name, test_name=dataset.test_name)


def _few_of(split: Split, most: int) -> Split:
    return split if len(split) <= most else split.select(chosen(split.labels, most), split.skipped)
