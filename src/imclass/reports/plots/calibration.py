"""Calibration: whether predictions with 90 % confidence are right 90 % of the time."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.ticker import PercentFormatter

from imclass.reports.plots.style import BLUE, GREY, ORANGE, new_figure, save, style


def plot_calibration(bins: Sequence[Mapping[str, float]], error: float, file: Path) -> None:
    """Draw accuracy against confidence, and the distribution of confidence, as a PNG.

    bins: confidence, accuracy (0..1) and images of each bin that is not empty. error: expected calibration
    error, 0..1 (Guo et al. 2017, arXiv:1706.04599).
    """
    figure = new_figure(4.6, 5.2)
    top, bottom = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    confidence = [row["confidence"] for row in bins]
    images = [row["images"] for row in bins]
    top.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="perfectly calibrated")
    top.plot(confidence, [row["accuracy"] for row in bins], color=BLUE, linewidth=1, alpha=0.5)
    largest = max(images, default=1)
    sizes = [15 + 150 * count / largest for count in images]
    top.scatter(
        confidence, [row["accuracy"] for row in bins], s=sizes, color=BLUE, label="this model", zorder=3
    )
    top.legend(loc="best", frameon=False, fontsize=8)
    style(top, f"Calibration (expected error {error:.1%})", "", "accuracy")
    bottom.bar(confidence, [100 * count / max(1, sum(images)) for count in images], width=0.05, color=ORANGE)
    style(bottom, "", "confidence (probability of the predicted class)", "% of images")
    for axes in (top.xaxis, top.yaxis):
        axes.set_major_formatter(PercentFormatter(1.0, decimals=0))
    top.set_xlim(0, 1.04)
    top.set_ylim(0, 1.04)
    save(figure, file)
