"""The order of the training images in an epoch; without balance, it is a permutation."""

import torch
from torch import Tensor


def balanced_order(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return N indices (int64) in random order, equally many of each class that has images, to within one.

    labels: int64 (N,), on the CPU. No image of a class comes twice more often than another: a large class
    shows a random part of its images, a small one repeats them all, and a random part of them once more.
    """
    images = labels.argsort(stable=True).split(torch.bincount(labels).tolist())
    images = [own for own in images if len(own)]
    share, left = divmod(len(labels), len(images))
    one_more = set(torch.randperm(len(images), generator=generator)[:left].tolist())
    drawn = []
    for number, own in enumerate(images):
        times, rest = divmod(share + (number in one_more), len(own))
        part = own[torch.randperm(len(own), generator=generator)[:rest]]
        drawn += [own.repeat(times), part]
    return torch.cat(drawn)[torch.randperm(len(labels), generator=generator)]
