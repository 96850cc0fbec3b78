"""Metrics and learning rate over epochs: of one run, or the validation metrics of several runs."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from imclass.config.metric import ACCURACY, METRICS, Metric
from imclass.reports.plots.style import (
    BLUE,
    GREY,
    ORANGE,
    SERIES,
    as_metric,
    new_figure,
    save,
    shortened,
    style,
)

Record = Mapping[str, Any]
SMOOTHED = 30  # points from which on a line is smoothed, over a fifteenth of them
OUTLIER, ROOM = 6, 2  # times the 90 % quantile: a value above the first is cut off, at the second


def plot_curves(
    records: Sequence[Record], best: Record | None, file: Path, chosen: str = ACCURACY.name
) -> None:
    """Draw each metric and the learning rate over epochs, the best epoch marked, as a PNG.

    records: of metrics.jsonl. best: step, epoch and figures of the best model on validation data; None if
    nothing was evaluated. chosen: the metric that made it the best; of those by class, only this is drawn.
    """
    train = [r for r in records if r["split"] == "train" and r["loss"] is not None]
    usual = statistics.median(r["images"] for r in train) if train else 0
    train = [r for r in train if 2 * r["images"] >= usual]  # a mean over a few images would only be noise
    val = [r for r in records if r["split"] == "val"]
    metrics = _logged([*train, *val], chosen)
    figure = new_figure(11 / 3 * (len(metrics) + 1), 3.6)
    *panels, rate = figure.subplots(1, len(metrics) + 1)
    for metric, axes in zip(metrics, panels, strict=True):
        _noisy_line(axes, train, metric.name, "training", ORANGE)
        _line(axes, val, metric.name, "validation", BLUE, marker="o")
        title = metric.label[0].upper() + metric.label[1:]
        if best and metric.name in best:
            epoch, value = best["epoch"], best[metric.name]
            axes.plot([epoch], [value], "o", ms=11, mfc="none", mec=GREY, label="best model")
            title += f": best {value:.1%} at epoch {round(epoch, 2):g}" if metric.percent else ""
        _over_epochs(axes, title, metric)
        _cut_outliers(axes, [train, val], metric)
    figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside lower left", ncols=3, frameon=False)
    _line(rate, train, "lr", "learning rate", BLUE)
    rate.set_ylim(bottom=0)
    _over_epochs(rate, "Learning rate")
    save(figure, file)


def plot_comparison(
    groups: Sequence[tuple[str, Sequence[Sequence[Record]]]], file: Path, chosen: str = ACCURACY.name
) -> None:
    """Draw the validation metrics of several runs over each other, as a PNG.

    groups: a name and, for each run of it, the records of metrics.jsonl; the best first. The first eight
    have a colour, which the runs of a group share, and a name in the legend; the others are grey. chosen: as
    in `plot_curves`.
    """
    metrics = _logged([record for _, runs in groups for records in runs for record in records], chosen)
    figure = new_figure(5.5 * len(metrics), 3.7 + 0.2 * min(len(groups), len(SERIES)))
    panels = figure.subplots(1, len(metrics))
    for number, (name, runs) in reversed(list(enumerate(groups))):
        named = number < len(SERIES)
        color, label = (SERIES[number], shortened(name, 150)) if named else ("#BBBBBB", "_nolegend_")
        for records in runs:
            val = [r for r in records if r["split"] == "val"]
            for metric, axes in zip(metrics, panels, strict=True):
                _line(axes, val, metric.name, label, color)
            label = "_nolegend_"
    drawn = [[r for r in records if r["split"] == "val"] for _, runs in groups for records in runs]
    for metric, axes in zip(metrics, panels, strict=True):
        _over_epochs(axes, f"Validation {metric.label}", metric)
        _cut_outliers(axes, drawn, metric)
    handles, labels = panels[-1].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower left", frameon=False, fontsize=8)
    save(figure, file)


def _logged(records: Sequence[Record], chosen: str = ACCURACY.name) -> list[Metric]:
    """Return the metrics that were logged, all if nothing was; of those by class, at most the chosen one."""
    logged = {name for record in records for name in record}
    drawn = [metric for metric in METRICS.values() if metric.name == chosen or not metric.by_class]
    return [metric for metric in drawn if not logged or metric.name in logged]


def _line(axes: Axes, rows: Sequence[Record], key: str, label: str, color: str, marker: str = "") -> None:
    rows = [row for row in rows if key in row]
    marker = marker or ("o" if len(rows) == 1 else "")
    xs, ys = [r["epoch"] for r in rows], [r[key] for r in rows]
    axes.plot(xs, ys, label=label, color=color, marker=marker, ms=4)


def _noisy_line(axes: Axes, rows: Sequence[Record], key: str, label: str, color: str) -> None:
    """Draw a line that is smoothed where it has many points, pale behind it the points themselves."""
    rows = [row for row in rows if key in row]
    if len(rows) < SMOOTHED:
        _line(axes, rows, key, label, color)
        return
    axes.plot([r["epoch"] for r in rows], [r[key] for r in rows], color=color, lw=0.8, alpha=0.35)
    smooth = smoothed([row[key] for row in rows], len(rows) // SMOOTHED)
    axes.plot([r["epoch"] for r in rows], smooth, color=color, label=f"{label}, smoothed")


def smoothed(values: Sequence[float], reach: int) -> list[float]:
    """Return the mean of each value and its neighbours, up to `reach` on both sides; fewer at the ends."""
    return [
        statistics.fmean(values[max(0, place - reach) : place + reach + 1]) for place in range(len(values))
    ]


def _cut_outliers(axes: Axes, lines: Sequence[Sequence[Record]], metric: Metric) -> None:
    """Cut the axis off where few values are far above the others, and write how many."""
    drawn = [[r[metric.name] for r in rows if r.get(metric.name) is not None] for rows in lines]
    usual = max((sorted(line)[int(0.9 * (len(line) - 1))] for line in drawn if line), default=0.0)
    values = [value for line in drawn for value in line]
    if metric.percent or usual <= 0 or max(values) <= OUTLIER * usual:
        return
    top = ROOM * usual
    axes.set_ylim(min(0.0, *values), top)
    count = sum(value > top for value in values)
    note = f"{count} above {top:.2g}, up to {max(values):.3g}"
    axes.text(0.98, 0.97, note, transform=axes.transAxes, ha="right", va="top", fontsize=8, color=GREY)


def _over_epochs(axes: Axes, title: str, metric: Metric | None = None) -> None:
    style(axes, title, "epoch")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    if metric is not None and metric.percent:
        as_metric(axes, metric)
        axes.set_ylim(top=min(1.02, axes.get_ylim()[1]))
