"""Pictures of a run, drawn from its own records."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

# Two colours that colour-blind readers can tell apart (Okabe & Ito 2008), and greys.
TRAIN, VALIDATION, BEST, GRID = "#E69F00", "#0072B2", "#555555", "#DDDDDD"


def plot_curves(records: Sequence[Mapping[str, Any]], best: Mapping[str, Any], file: Path) -> None:
    """Draw accuracy, loss and learning rate over epochs, the best epoch marked, as a PNG.

    records: of metrics.jsonl. best: step, epoch, loss, accuracy of the best model on validation data.
    """
    train = [r for r in records if r["split"] == "train" and r["loss"] is not None]
    usual = statistics.median(r["images"] for r in train) if train else 0
    train = [r for r in train if 2 * r["images"] >= usual]  # a mean over a few images would only be noise
    val = [r for r in records if r["split"] == "val"]
    figure = Figure(figsize=(11, 3.6), dpi=110, layout="constrained")
    accuracy, loss, rate = figure.subplots(1, 3)
    for axes, key in ((accuracy, "accuracy"), (loss, "loss")):
        _line(axes, train, key, "training (mean since the last point)", TRAIN)
        _line(axes, val, key, "validation", VALIDATION, marker="o")
        axes.plot([best["epoch"]], [best[key]], "o", ms=11, mfc="none", mec=BEST, label="best model")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    accuracy.set_ylim(top=min(1.0, accuracy.get_ylim()[1]))
    loss.legend(loc="best", frameon=False, fontsize=8)
    _line(rate, train, "lr", "learning rate", VALIDATION)
    rate.set_ylim(bottom=0)
    titles = {
        accuracy: f"Accuracy: best {best['accuracy']:.1%} at epoch {best['epoch']:g}",
        loss: "Loss (cross entropy per image)",
        rate: "Learning rate",
    }
    for axes, title in titles.items():
        _style(axes, title)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def _line(
    axes: Axes, rows: Sequence[Mapping[str, Any]], key: str, label: str, color: str, marker: str = ""
) -> None:
    marker = marker or ("o" if len(rows) == 1 else "")
    axes.plot(
        [r["epoch"] for r in rows], [r[key] for r in rows], label=label, color=color, marker=marker, ms=4
    )


def _style(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel("epoch")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
