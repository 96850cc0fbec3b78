"""Calibration: whether predictions with 90 % confidence are right 90 % of the time."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.ticker import PercentFormatter

from imclass.reports.plots.style import BLUE, GREY, ORANGE, new_figure, save, style

FEW = 10  # images: the accuracy of a bin that has fewer says nothing, and is left out
Z = 1.96  # standard deviations on each side that hold 95 % of a normal distribution


def plot_calibration(bins: Sequence[Mapping[str, float]], error: float, file: Path) -> None:
    """Draw accuracy against confidence, and the distribution of confidence, as a PNG.

    bins: confidence, accuracy (0..1) and images of each bin that is not empty. error: expected calibration
    error, 0..1 (Guo et al. 2017, arXiv:1706.04599).
    """
    figure = new_figure(4.6, 5.2)
    top, bottom = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    top.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="perfectly calibrated")
    shown = [row for row in bins if row["images"] >= FEW]
    confidence, accuracy = ([row[name] for row in shown] for name in ("confidence", "accuracy"))
    intervals = [wilson_interval(row["accuracy"], row["images"]) for row in shown]
    below = [max(0.0, value - low) for value, (low, _) in zip(accuracy, intervals, strict=True)]
    above = [max(0.0, high - value) for value, (_, high) in zip(accuracy, intervals, strict=True)]
    top.errorbar(
        confidence,
        accuracy,
        yerr=[below, above],
        fmt="o-",
        color=BLUE,
        ms=5,
        lw=1,
        elinewidth=1.5,
        capsize=3,
        label="this model, with 95 % intervals",
    )
    if hidden := len(bins) - len(shown):
        note = f"not shown: {hidden} of {len(bins)} bins, with fewer than {FEW} images"
        top.errorbar([], [], fmt=" ", label=note)
    figure.legend(loc="outside lower left", frameon=False, fontsize=8)
    style(top, f"Calibration (expected error {error:.1%})", "", "accuracy")
    images = [row["images"] for row in bins]
    shares = [100 * count / max(1, sum(images)) for count in images]
    bottom.bar([row["confidence"] for row in bins], shares, width=0.05, color=ORANGE)
    style(bottom, "", "confidence (probability of the predicted class)", "% of images")
    for axes in (top.xaxis, top.yaxis):
        axes.set_major_formatter(PercentFormatter(1.0, decimals=0))
    top.set_xlim(0, 1.04)
    top.set_ylim(0, 1.04)
    save(figure, file)


def wilson_interval(share: float, count: float) -> tuple[float, float]:
    """Return the 95 % interval of a probability that `share` of `count` trials was (Wilson 1927)."""
    wide = 1 + Z**2 / count
    middle = (share + Z**2 / (2 * count)) / wide
    half = Z / wide * math.sqrt(share * (1 - share) / count + (Z / (2 * count)) ** 2)
    return middle - half, middle + half
