"""A contact sheet: some pictures of each class."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from imclass.reports.plots import Picture, plot_pictures
from imclass.reports.plots.pictures import COLUMNS, SIDE

MOST = 200  # pictures


def write_contact_sheet(
    labels: Sequence[str], names: Sequence[str], read: Callable[[int, int], NDArray[np.uint8]], file: Path
) -> None:
    """Draw up to a row of each class, evenly spaced among its pictures, as a PNG; of many classes, fewer.

    labels, names: of all pictures. read: returns the picture at an index, for a side in pixels.
    """
    classes = sorted(set(labels))
    row = min(COLUMNS, max(1, MOST // max(len(classes), 1)))
    pictures = []
    for name in classes[:MOST]:
        own = [index for index, label in enumerate(labels) if label == name]
        for position in np.linspace(0, len(own) - 1, min(row, len(own))).round().astype(int):
            index = own[position]
            image = torch.from_numpy(read(index, 2 * SIDE).copy())
            pictures.append(Picture(image, f"{name}\n{Path(names[index]).name}"))
    shown = f", the first {MOST} of {len(classes):,}" if len(classes) > MOST else ""
    plot_pictures(pictures, f"{len(labels):,} pictures in {len(classes):,} classes{shown}", file)
