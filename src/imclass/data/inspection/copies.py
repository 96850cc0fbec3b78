"""Pictures that are there twice: the same bytes, or nearly the same to look at."""

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

# Difference of two thumbnails, relative to the contrast of either, up to which pictures are near. Of 600
# CIFAR-10 JPEGs, 99 % of copies in 24 to 224 pixels are below 0.04, half of those of quality 30 below 0.11,
# and other pairs above 0.57. Of 2,500 images of Fashion-MNIST, 31 pairs are below 0.15, none below 0.1.
NEAR = 0.12
FLATTEST = 3.0  # contrast (standard deviation of the pixels, 0..255) below which thumbnails say nothing
AT_ONCE = 512  # thumbnails compared with all others of their brightness at once
MOST = 200_000  # pairs that are followed up


def exact_copies(digests: Sequence[Hashable]) -> list[list[int]]:
    """Return the indices of equal digests, each group of two or more, in order."""
    groups: dict[Hashable, list[int]] = {}
    for index, digest in enumerate(digests):
        groups.setdefault(digest, []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def near_copies(thumbnails: NDArray[np.uint8]) -> list[list[int]]:
    """Return the indices of pictures that look alike, each group of two or more, in order.

    thumbnails: (N, S, S, 3). A copy that was resized, compressed again or converted is found; one that was
    cropped, turned or coloured is not. Groups are chains of near pairs.
    """
    parent = list(range(len(thumbnails)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    for first, second in _near_pairs(thumbnails):
        parent[max(root(first), root(second))] = min(root(first), root(second))
    return exact_copies([root(index) for index in range(len(thumbnails))])


def _near_pairs(thumbnails: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Yield pairs whose distance is at most `NEAR` of the smaller contrast, about `MOST` at most.

    In order of brightness, so that only those within reach are compared: means differ by less than the
    pixels do.
    """
    values = thumbnails.reshape(len(thumbnails), -1).astype(np.float32) - 128
    contrast = values.std(1)
    usable = np.flatnonzero(contrast >= FLATTEST)
    order = usable[np.argsort(values[usable].mean(1), kind="stable")]
    values, contrast = values[order], contrast[order]
    mean, square = values.mean(1), np.square(values).mean(1)
    found = 0
    for start in range(0, len(order), AT_ONCE):
        stop = min(start + AT_ONCE, len(order))
        reach = mean[stop - 1] + NEAR * contrast[start:stop].max()
        end = int(np.searchsorted(mean, reach, side="right"))
        products = values[start:stop] @ values[start:end].T / values.shape[1]
        distance = square[start:stop, None] + square[None, start:end] - 2 * products
        least = np.minimum(contrast[start:stop, None], contrast[None, start:end])
        rows, columns = np.nonzero(np.triu(distance <= np.square(NEAR * least), 1))
        yield from zip(order[start + rows].tolist(), order[start + columns].tolist(), strict=True)
        found += len(rows)
        if found > MOST:
            return
