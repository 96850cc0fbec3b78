"""The confusion matrix."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from imclass.reports.plots.style import BLUE, GRID, RED, new_figure, save, shortened

RIGHT = LinearSegmentedColormap.from_list("right", ["white", BLUE])
WRONG = LinearSegmentedColormap.from_list("wrong", ["white", RED])
NUMBERED = 25  # with at most this many classes, cells have numbers and every class a name
FULL = 0.25  # the share of a class from which on mistakes are full red, in every matrix alike
FEW = 10  # images: of a class that has fewer, shares mean little, and its row is pale
LISTED = 12  # mistakes listed beside a larger matrix


def plot_confusion_matrix(matrix: Sequence[Sequence[int]], classes: Sequence[str], file: Path) -> None:
    """Draw the matrix as a PNG: rows are true classes, columns predicted ones, in % of the row.

    matrix: [true][predicted] in images. The diagonal is blue, mistakes are red on a scale of their own, the
    square root of their share: on the diagonal's scale they would all look white.
    """
    counts = np.asarray(matrix, dtype=np.float64)
    images = counts.sum(axis=1)
    shares = counts / np.maximum(images, 1)[:, None]
    few = images < FEW
    numbered = len(classes) <= NUMBERED
    side = max(4.0, 2.2 + 0.5 * len(classes)) if numbered else 9.0
    figure = new_figure(side + (0 if numbered else 3.2), side)
    axes = figure.add_subplot() if numbered else figure.subplots(1, 2, width_ratios=[3, 1])[0]
    _draw(axes, shares, few)
    if numbered:
        _number(axes, shares, few)
    _name(axes, classes, images, numbered)
    accuracy = np.trace(counts) / max(counts.sum(), 1)
    pale = f"\npale: classes of fewer than {FEW} images" if few.any() else ""
    figure.suptitle(
        f"Confusion matrix, % of the true class\naccuracy {accuracy:.1%}{pale}",
        x=0.02,
        ha="left",
        fontsize=10,
        fontweight="bold",
    )
    if not numbered:
        _list_mistakes(figure.axes[1], counts, classes)
    save(figure, file)


def _draw(axes: Axes, shares: NDArray[np.float64], few: NDArray[np.bool_]) -> None:
    diagonal = np.eye(len(shares), dtype=bool)
    pixels = WRONG(0.9 * np.sqrt(np.minimum(shares / FULL, 1)))
    pixels[diagonal] = RIGHT(0.75 * shares)[diagonal]
    pixels[few] = 1 - 0.3 * (1 - pixels[few])
    axes.imshow(pixels, interpolation="nearest")
    if len(shares) <= NUMBERED:
        borders = np.arange(len(shares) + 1) - 0.5
        axes.set_xticks(borders, minor=True)
        axes.set_yticks(borders, minor=True)
        axes.grid(which="minor", color=GRID, linewidth=0.6)
    axes.spines[:].set_visible(False)


def _number(axes: Axes, shares: NDArray[np.float64], few: NDArray[np.bool_]) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if share > 0 or row == column:
            dark = share > (0.8 if row == column else FULL) and not few[row]
            axes.text(
                column,
                row,
                _percent(share),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else "grey" if few[row] else "black",
            )


def _percent(share: float) -> str:
    """Return 7, 7.3 or 73: a decimal only below 10 %."""
    whole = share >= 0.0995 or abs(100 * share - round(100 * share)) < 0.05
    return f"{100 * share:.{0 if whole else 1}f}"


def _name(axes: Axes, classes: Sequence[str], images: NDArray[np.float64], numbered: bool) -> None:
    """Write the classes along both axes, with the number of their images at the rows."""
    every = 1 if len(classes) <= 120 else len(classes) // 60
    places = list(range(0, len(classes), every))
    names = [shortened(classes[place], 16) for place in places]
    size = 8.5 if numbered else max(2.5, min(8.0, 480 / len(classes)))
    axes.set_xticks(places, names, rotation=90 if len(classes) > 12 else 45, fontsize=size)
    if len(classes) <= 12:
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    rows = [f"{name} ({images[place]:,.0f})" for place, name in zip(places, names, strict=True)]
    axes.set_yticks(places, rows, fontsize=size)
    axes.tick_params(which="both", length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (images)")


def _list_mistakes(axes: Axes, counts: NDArray[np.float64], classes: Sequence[str]) -> None:
    """Write the most frequent mistakes as text: single cells of a large matrix are hard to read."""
    axes.axis("off")
    wrong = counts * (1 - np.eye(len(counts)))
    lines = ["Most frequent mistakes", ""]
    for flat in np.argsort(-wrong, axis=None, kind="stable")[:LISTED]:
        row, column = divmod(int(flat), len(classes))
        if wrong[row, column]:
            true, predicted = shortened(classes[row], 18), shortened(classes[column], 18)
            lines.append(f"{wrong[row, column]:.0f} of {counts[row].sum():.0f}  {true} → {predicted}")
    axes.text(0, 0.98, "\n".join(lines), va="top", fontsize=8.5, linespacing=1.7, transform=axes.transAxes)
