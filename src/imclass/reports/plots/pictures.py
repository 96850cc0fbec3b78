"""Sheets of images with captions, such as true and predicted classes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from imclass.reports.plots.style import BLUE, GREY, RED, save, shortened

if TYPE_CHECKING:
    from torch import Tensor

COLUMNS = 8
# Measures of a sheet in pixels.
SIDE, GAP, LINE, TITLE, DPI = 116, 20, 15, 34, 110


class Picture(NamedTuple):
    """An image and the lines under it."""

    image: "Tensor"  # uint8 (C, H, W)
    caption: str
    right: bool | None = None  # whether the prediction is right; None: unknown


def plot_pictures(pictures: Sequence[Picture], title: str, file: Path) -> None:
    """Draw the images in rows of eight as a PNG; wrong ones framed in red, right ones in blue."""
    columns = min(COLUMNS, max(4, len(pictures)))
    rows = max(1, math.ceil(len(pictures) / columns))
    lines = max((picture.caption.count("\n") + 1 for picture in pictures), default=1)
    row_height = SIDE + GAP + lines * LINE
    width, height = columns * (SIDE + GAP) + GAP, TITLE + rows * row_height + GAP // 2
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))  # one for all: an Axes per image takes five times as long
    axes.axis("off")
    axes.text(GAP, TITLE / 2, shortened(title, 120), fontsize=11, fontweight="bold", va="center")
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        _draw(axes, picture, GAP + column * (SIDE + GAP), TITLE + row * row_height)
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    save(figure, file)


def _draw(axes: Axes, picture: Picture, left: int, top: int) -> None:
    """Draw one image in the square with this upper left corner, and its caption below."""
    color = {None: GREY, True: BLUE, False: RED}[picture.right]
    pixels = _pixels(picture.image)
    height, width = pixels.shape[:2]
    high, wide = (SIDE * side / max(height, width) for side in (height, width))
    extent = (left, left + wide, top + high, top)
    smooth = "antialiased" if max(height, width) > SIDE else "nearest"  # small images keep their pixels
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation=smooth, extent=extent)
    line = 3 if picture.right is False else 1
    axes.add_patch(Rectangle((left, top), wide, high, fill=False, edgecolor=color, linewidth=line))
    caption = "\n".join(shortened(line, 22) for line in picture.caption.split("\n"))
    axes.text(
        left + SIDE / 2,
        top + SIDE + 5,
        caption,
        ha="center",
        va="top",
        fontsize=7.5,
        color="black" if picture.right is None else color,
    )


def _pixels(image: "Tensor") -> NDArray[np.uint8]:
    """Return (H, W, 3), or (H, W): the first channel if there are not three."""
    shown = image if image.shape[0] == 3 else image[:1]
    pixels: NDArray[np.uint8] = shown.permute(1, 2, 0).cpu().numpy()
    return pixels if shown.shape[0] == 3 else pixels[..., 0]
