"""Accuracy, loss and learning rate over epochs: of one run, or the validation of several over each other."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from imclass.reports.plots.style import (
    BLUE,
    GREY,
    ORANGE,
    SERIES,
    new_figure,
    save,
    shortened,
    style,
)

Record = Mapping[str, Any]


def plot_curves(records: Sequence[Record], best: Record | None, file: Path) -> None:
    """Draw accuracy, loss and learning rate over epochs, the best epoch marked, as a PNG.

    records: of metrics.jsonl. best: step, epoch, loss, accuracy of the best model on validation data; None
    where nothing was evaluated.
    """
    train = [r for r in records if r["split"] == "train" and r["loss"] is not None]
    usual = statistics.median(r["images"] for r in train) if train else 0
    train = [r for r in train if 2 * r["images"] >= usual]  # a mean over a few images would only be noise
    val = [r for r in records if r["split"] == "val"]
    figure = new_figure(11, 3.6)
    accuracy, loss, rate = figure.subplots(1, 3)
    for axes, key in ((accuracy, "accuracy"), (loss, "loss")):
        _line(axes, train, key, "training (mean since the last point)", ORANGE)
        _line(axes, val, key, "validation", BLUE, marker="o")
        if best:
            axes.plot([best["epoch"]], [best[key]], "o", ms=11, mfc="none", mec=GREY, label="best model")
    _as_percentages(accuracy)
    loss.legend(loc="best", frameon=False, fontsize=8)
    _line(rate, train, "lr", "learning rate", BLUE)
    rate.set_ylim(bottom=0)
    titles = {
        accuracy: f"Accuracy: best {best['accuracy']:.1%} at epoch {round(best['epoch'], 2):g}"
        if best
        else "Accuracy",
        loss: "Loss (cross entropy per image)",
        rate: "Learning rate",
    }
    for axes, title in titles.items():
        _over_epochs(axes, title)
    save(figure, file)


def plot_comparison(groups: Sequence[tuple[str, Sequence[Sequence[Record]]]], file: Path) -> None:
    """Draw the validation accuracy and loss of several runs over each other, as a PNG.

    groups: a name and, for each run of it, the records of metrics.jsonl; the best first. The first eight
    have a colour, which the runs of a group share, and a name in the legend; the others are grey.
    """
    figure = new_figure(11, 4)
    accuracy, loss = figure.subplots(1, 2)
    for number, (name, runs) in reversed(list(enumerate(groups))):
        named = number < len(SERIES)
        color, label = (SERIES[number], shortened(name, 40)) if named else ("#BBBBBB", "_nolegend_")
        for records in runs:
            val = [r for r in records if r["split"] == "val"]
            for axes, key in ((accuracy, "accuracy"), (loss, "loss")):
                _line(axes, val, key, label, color)
            label = "_nolegend_"
    _as_percentages(accuracy)
    handles, labels = loss.get_legend_handles_labels()
    loss.legend(handles[::-1], labels[::-1], loc="best", frameon=False, fontsize=8)
    _over_epochs(accuracy, "Validation accuracy")
    _over_epochs(loss, "Validation loss (cross entropy per image)")
    save(figure, file)


def _line(axes: Axes, rows: Sequence[Record], key: str, label: str, color: str, marker: str = "") -> None:
    marker = marker or ("o" if len(rows) == 1 else "")
    xs, ys = [r["epoch"] for r in rows], [r[key] for r in rows]
    axes.plot(xs, ys, label=label, color=color, marker=marker, ms=4)


def _as_percentages(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.set_ylim(top=min(1.02, axes.get_ylim()[1]))


def _over_epochs(axes: Axes, title: str) -> None:
    style(axes, title, "epoch")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
