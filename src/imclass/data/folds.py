"""Divides images into parts at random: the folds of a cross-validation, and parts that keep groups whole."""

from collections.abc import Sequence

import torch
from torch import Tensor


def deal_into_folds(labels: Tensor, groups: Tensor | None, folds: int, generator: torch.Generator) -> Tensor:
    """Return the fold of each image, int64 (N,), 0..folds - 1. Each class is spread evenly over the folds.

    labels: int64 (N,). groups: int64 (N,), those kept whole; None: each image is its own, and sizes of folds,
    of all images and of each class, differ by at most 1.
    """
    if groups is not None:
        return partition(labels, groups, [1 / folds] * folds, generator)
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    fold = torch.empty_like(labels)
    fold[by_class] = torch.arange(len(labels)) % folds
    return fold


def partition(labels: Tensor, groups: Tensor, shares: Sequence[float], generator: torch.Generator) -> Tensor:
    """Return the part of each image, int64 (N,), so that parts have their shares of each class, about.

    labels: int64 (N,). groups: int64 (N,), each in one part as a whole. shares: of the images, of sum 1.
    Large groups first, at random among equals, each goes where the squared distance of all class counts from
    their targets, relative to these, grows least.
    """
    members, of_group = groups.unique(return_inverse=True)
    classes = int(labels.max()) + 1
    counts = torch.zeros(len(members), classes, dtype=torch.float64)
    counts.index_put_((of_group, labels), torch.ones((), dtype=torch.float64), accumulate=True)
    shuffled = torch.randperm(len(members), generator=generator)
    order = shuffled[counts[shuffled].sum(1).argsort(descending=True, stable=True)]
    targets = torch.tensor(shares, dtype=torch.float64)[:, None] * counts.sum(0)
    filled = torch.zeros_like(targets)
    part = torch.empty(len(members), dtype=torch.int64)
    for group in order.tolist():
        added = counts[group]
        growth = added * (added + 2 * (filled - targets)) / targets.clamp(min=1e-9)
        part[group] = chosen = int(growth.sum(1).argmin())
        filled[chosen] += added
    return part[of_group]
