"""Plots of a sweep: how it went, which settings mattered, and which values work."""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from imclass.config.metric import Metric
from imclass.reports.plots.style import BLUE, GREY, ORANGE, RED, as_metric, new_figure, save, shortened, style

STATES = {  # color, marker, line, name in the legend
    "complete": (BLUE, "o", "-", "completed"),
    "pruned": (ORANGE, "v", "--", "pruned (last value)"),
    "diverged": (RED, "x", ":", "diverged"),
}
COLUMNS = 4  # of slices
BESIDE = 20  # characters of names that fit beside each other below a slice


@dataclass(frozen=True, slots=True)
class Point:
    """One configuration. value: of the metric, at its end; curve: (epoch, value) of each evaluation."""

    number: int
    state: str
    value: float
    settings: Mapping[str, str]
    curve: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axis:
    """One parameter; its values are numbers unless there are categories."""

    key: str
    categories: Sequence[str] = ()
    log: bool = False


def plot_history(points: Sequence[Point], metric: Metric, file: Path) -> None:
    """Draw the metric of each configuration in the order of their start, and the best so far."""
    figure = new_figure(11, 3.8)
    axes = figure.subplots()
    _scatter(axes, points, [point.number for point in points])
    done = sorted((p for p in points if p.state == "complete"), key=lambda p: p.number)
    best = [min((p.value for p in done[: n + 1]), key=metric.rank) for n in range(len(done))]
    if done:
        numbers = [*(p.number for p in done), max(p.number for p in points)]
        axes.plot(numbers, [*best, best[-1]], color=GREY, drawstyle="steps-post", label="best so far")
    style(axes, "Every trial, in order", "trial", f"validation {metric.name}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _limit(axes, [p.value for p in points], metric)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    save(figure, file)


def plot_importance(importance: Mapping[str, float], file: Path) -> None:
    """Draw the share of each parameter, the largest on top."""
    rows = sorted(importance.items(), key=lambda item: item[1])
    figure = new_figure(11, 1.1 + 0.42 * len(rows))
    axes = figure.subplots()
    bars = axes.barh([shortened(key, 40) for key, _ in rows], [share for _, share in rows], color=BLUE)
    axes.bar_label(bars, [f"{share:.0%}" for _, share in rows], padding=4, fontsize=9, color=GREY)
    style(axes, "Which settings separate the best trials from the others", "share of the difference")
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.margins(x=0.08)
    save(figure, file)


def plot_slices(points: Sequence[Point], parameters: Sequence[Axis], metric: Metric, file: Path) -> None:
    """Draw the metric of all configurations over the values of each parameter; the first is circled."""
    columns, rows = min(COLUMNS, len(parameters)), math.ceil(len(parameters) / COLUMNS)
    figure = new_figure(11, 0.5 + 2.9 * rows)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, parameter in itertools.zip_longest(grid.flat, parameters):
        if parameter is None:
            axes.axis("off")
            continue
        texts = [point.settings[parameter.key] for point in points]
        places = [parameter.categories.index(t) if parameter.categories else float(t) for t in texts]
        _scatter(axes, points, places)
        axes.plot(places[:1], [points[0].value], "o", ms=12, mfc="none", mec="black", label="the best")
        style(axes, shortened(parameter.key, 26), "")
        if parameter.categories:
            names = [shortened(text, 14) for text in parameter.categories]
            axes.set_xticks(range(len(names)), names)
            if sum(map(len, names)) > BESIDE:
                for label in axes.get_xticklabels():
                    label.set(rotation=30, ha="right", rotation_mode="anchor")
            axes.margins(x=0.15)
        elif parameter.log:
            axes.set_xscale("log")
    _limit(grid[0, 0], [p.value for p in points], metric)
    for first in grid[:, 0]:
        first.set_ylabel(f"validation {metric.name}")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower left", ncols=4, frameon=False)
    save(figure, file)


def plot_learning_curves(points: Sequence[Point], metric: Metric, file: Path) -> None:
    """Draw the metric of all trials over epochs; the first, the best, is thick."""
    figure = new_figure(11, 3.8)
    axes = figure.subplots()
    for point in reversed([p for p in points if p.curve]):
        color, _, line, label = STATES.get(point.state, (GREY, "", ":", point.state))
        xs, ys = [x for x, _ in point.curve], [y for _, y in point.curve]
        marker = "o" if len(xs) == 1 else ""
        axes.plot(xs, ys, line, color=color, lw=1.2, marker=marker, ms=4, alpha=0.6, label=label)
        if point is points[0]:
            axes.plot(xs, ys, color="black", lw=2.4, marker=marker, label=f"the best, trial {point.number}")
    style(axes, "During training", "epoch", f"validation {metric.name}")
    axes.set_xlim(left=0)
    _limit(axes, [y for p in points for _, y in p.curve], metric)
    named = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))  # one entry for each label
    figure.legend(named.values(), named, loc="outside right upper", frameon=False, fontsize=8)
    save(figure, file)


def _scatter(axes: Axes, points: Sequence[Point], places: Sequence[float]) -> None:
    for state, (color, marker, _, label) in STATES.items():
        own = [(x, p.value) for x, p in zip(places, points, strict=True) if p.state == state]
        if own:
            axes.plot(*zip(*own, strict=True), marker, color=color, ms=6, alpha=0.8, label=label)


def _limit(axes: Axes, values: Sequence[float], metric: Metric) -> None:
    """Format the axis of the metric; cut off high losses, which would flatten the rest."""
    as_metric(axes, metric)
    low, middle = min(values), statistics.median(values)
    if not metric.maximize and middle > low:
        top = min(max(values), middle + 3 * (middle - low))
        axes.set_ylim(top=top + 0.1 * (top - low))
