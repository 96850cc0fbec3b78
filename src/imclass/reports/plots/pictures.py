"""Sheets of images with captions, such as true and predicted classes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from imclass.reports.plots.style import BLUE, GREY, RED, fitted, save, wrapped

if TYPE_CHECKING:
    from torch import Tensor

COLUMNS, LEAST_COLUMNS = 8, 4
# Measures of a sheet in pixels.
SIDE, GAP, PAIR, LINE, DPI = 116, 20, 5, 15, 110
TITLE, TITLE_LINE = 14, 20
TITLE_FONT, CAPTION_FONT = FontProperties(size=11, weight="bold"), FontProperties(size=7.5)
HEAT = colormaps["inferno"]


class Picture(NamedTuple):
    """An image and the lines under it."""

    image: "Tensor"  # uint8 (C, H, W)
    caption: str
    right: bool | None = None  # whether the prediction is right; None: unknown
    heat: "Tensor | None" = None  # float (H, W), 0..1: shown over the image, in a copy beside it


def plot_pictures(pictures: Sequence[Picture], title: str, file: Path) -> None:
    """Draw the images in rows of eight as a PNG; wrong ones framed in red, right ones in blue.

    Images with a heat map take the place of two. Lines wider than their image are shortened.
    """
    places = 2 if any(picture.heat is not None for picture in pictures) else 1
    columns = min(COLUMNS, max(LEAST_COLUMNS, places * len(pictures))) // places
    rows = math.ceil(len(pictures) / columns)
    lines = max((picture.caption.count("\n") + 1 for picture in pictures), default=1)
    cell, row_height = places * (SIDE + PAIR) - PAIR + GAP, SIDE + GAP + lines * LINE
    width = columns * cell + GAP
    title_lines = wrapped(title, _points(width - 2 * GAP), TITLE_FONT)
    above = TITLE + TITLE_LINE * len(title_lines)
    height = above + rows * row_height + GAP // 2
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))  # one for all: an Axes per image takes five times as long
    axes.axis("off")
    for number, line in enumerate(title_lines):
        axes.text(GAP, TITLE / 2 + TITLE_LINE * (number + 0.5), line, font=TITLE_FONT, va="center")
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        _draw(axes, picture, GAP + column * cell, above + row * row_height, cell - GAP)
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    save(figure, file)


def heat_legend(pictures: Sequence[Picture]) -> str:
    """Return what the heat maps mean, to end a title with; "" where there are none."""
    heats = [picture.heat for picture in pictures if picture.heat is not None]
    cold = "; grey all over: nothing does" if any(not heat.any() for heat in heats) else ""
    return f"; bright: what speaks for the prediction (Grad-CAM){cold}" if heats else ""


def _draw(axes: Axes, picture: Picture, left: int, top: int, width: int) -> None:
    """Draw one image in the square with this upper left corner, its heat map beside, its caption below."""
    color = {None: GREY, True: BLUE, False: RED}[picture.right]
    pixels = _pixels(picture.image)
    _draw_pixels(axes, pixels, left, top, color, 3 if picture.right is False else 1)
    if picture.heat is not None:
        heat = picture.heat.numpy()
        _draw_pixels(axes, _overlaid(pixels, heat), left + width - SIDE, top, GREY, 1)
    room = _points(width + GAP - 4)
    axes.text(
        left + width / 2,
        top + SIDE + 5,
        "\n".join(fitted(line, room, CAPTION_FONT) for line in picture.caption.split("\n")),
        ha="center",
        va="top",
        font=CAPTION_FONT,
        color="black" if picture.right is None else color,
    )


def _draw_pixels(axes: Axes, pixels: NDArray[np.uint8], left: int, top: int, color: str, line: float) -> None:
    """Draw an image (H, W) or (H, W, 3), its longer side SIDE, in a frame."""
    height, width = pixels.shape[:2]
    high, wide = (SIDE * side / max(height, width) for side in (height, width))
    extent = (left, left + wide, top + high, top)
    smooth = "antialiased" if max(height, width) > SIDE else "nearest"  # small images keep their pixels
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation=smooth, extent=extent)
    axes.add_patch(Rectangle((left, top), wide, high, fill=False, edgecolor=color, linewidth=line))


def _overlaid(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the image in grey (H, W, 3), darkened where it is cold and coloured where it is hot."""
    grey = pixels if pixels.ndim == 2 else pixels.mean(axis=2)
    share = 0.25 + 0.45 * heat[..., None]
    shown = (1 - share) * grey[..., None] + share * 255 * HEAT(heat)[..., :3]
    overlaid: NDArray[np.uint8] = shown.round().astype(np.uint8)
    return overlaid


def _points(pixels: float) -> float:
    return pixels * 72 / DPI


def _pixels(image: "Tensor") -> NDArray[np.uint8]:
    """Return (H, W, 3), or (H, W): the first channel if there are not three."""
    shown = image if image.shape[0] == 3 else image[:1]
    pixels: NDArray[np.uint8] = shown.permute(1, 2, 0).cpu().numpy()
    return pixels if shown.shape[0] == 3 else pixels[..., 0]
