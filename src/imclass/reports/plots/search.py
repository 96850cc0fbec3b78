"""Pictures of a sweep: how it went, which settings mattered, and which values go with good figures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.ticker import MaxNLocator, PercentFormatter

from imclass.reports.plots.style import BLUE, GREY, ORANGE, RED, new_figure, save, shortened, style

# Even in brightness, and told apart by colour-blind readers; its bright yellow end is left out.
_COLORS, _BRIGHTEST = "viridis_r", 0.12
_TICK_DISTANCE = 0.05


@dataclass(frozen=True, slots=True)
class Point:
    """One configuration. value: of the metric, at its end; curve: (epoch, value) of each evaluation."""

    number: int
    state: str
    value: float
    position: Mapping[str, float]  # on each axis, from 0 to 1
    curve: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axis:
    """One parameter: its name, and its ticks from 0 to 1 with what they say."""

    key: str
    ticks: Sequence[tuple[float, str]]


def plot_history(points: Sequence[Point], metric: str, file: Path) -> None:
    """Draw the metric of each configuration in the order in which they were begun, and the best so far."""
    figure = new_figure(11, 3.8)
    axes = figure.subplots()
    points = sorted(points, key=lambda point: point.number)
    kinds = {"complete": (BLUE, "o"), "pruned": (ORANGE, "v"), "diverged": (RED, "x")}
    for state, (color, marker) in kinds.items():
        own = [p for p in points if p.state == state]
        label = {"complete": "trained to the end", "pruned": "pruned (its last value)"}.get(state, state)
        if own:
            xs, ys = [p.number for p in own], [p.value for p in own]
            axes.plot(xs, ys, marker, color=color, ms=6, ls="none", label=label)
    done = [p for p in points if p.state == "complete"]
    better = max if metric == "val.accuracy" else min
    best = [better(p.value for p in done[: n + 1]) for n in range(len(done))]
    axes.plot([p.number for p in done], best, color=GREY, drawstyle="steps-post", label="best so far")
    style(axes, "Every trial, in the order in which they were begun", "trial", _name(metric))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _as_metric(axes, metric)
    _limit(axes, [p.value for p in points], metric)
    axes.legend(loc="best", frameon=False, fontsize=8)
    save(figure, file)


def plot_importance(importance: Mapping[str, float], file: Path) -> None:
    """Draw the share of each parameter, the largest on top."""
    rows = sorted(importance.items(), key=lambda item: item[1])
    figure = new_figure(11, 1.1 + 0.42 * len(rows))
    axes = figure.subplots()
    axes.barh([shortened(key, 40) for key, _ in rows], [share for _, share in rows], color=BLUE, height=0.6)
    for place, (_, share) in enumerate(rows):
        axes.text(share + 0.005, place, f"{share:.0%}", va="center", fontsize=9, color=GREY)
    style(axes, "Which settings told the best trials from the others", "share of the difference")
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlim(0, 1.08 * max(share for _, share in rows))
    save(figure, file)


def plot_parallel(points: Sequence[Point], axes_: Sequence[Axis], metric: str, file: Path) -> None:
    """Draw each configuration as a line through its values, coloured by the metric; the first on top."""
    sign = 1 if metric == "val.accuracy" else -1
    worst_first = sorted(points, key=lambda p: (p is points[0], p.state == "complete", sign * p.value))
    figure = new_figure(11, 4.2)
    axes = figure.subplots()
    low, high = _usual([p.value for p in worst_first], metric)
    colors = _colors(metric)
    normal = Normalize(low, high, clip=True)
    for place, point in enumerate(worst_first):
        path = [(n, point.position[axis.key]) for n, axis in enumerate(axes_)]
        complete = point.state == "complete"
        lines = LineCollection([path], colors=[colors(normal(point.value))], zorder=2 + place)
        lines.set(linewidth=3.5 if point is points[0] else 1.6, alpha=1.0 if complete else 0.45)
        lines.set_linestyle("-" if complete else "--")
        axes.add_collection(lines)
    for n, axis in enumerate(axes_):
        axes.axvline(n, color=GREY, lw=0.8, zorder=1)
        for height, label in axis.ticks:
            axes.plot([n - 0.012, n + 0.012], [height, height], color=GREY, lw=0.8, zorder=1)
            box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8}
            text = shortened(label, 18)
            axes.text(n + 0.025, height, text, fontsize=8, va="center", bbox=box, zorder=1000)
    axes.set_title(
        "Every trial: its settings, coloured by the metric", loc="left", fontsize=10, fontweight="bold"
    )
    axes.set_xticks(range(len(axes_)), [shortened(axis.key, 26) for axis in axes_])
    axes.set(xlim=(-0.15, len(axes_) - 0.6), ylim=(-0.06, 1.06), yticks=[])
    axes.spines[:].set_visible(False)
    mappable = figure.colorbar(ScalarMappable(normal, colors), ax=axes, pad=0.01)
    mappable.set_label(_name(metric) + " (dashed: not trained to the end)", fontsize=8)
    if metric == "val.accuracy":
        mappable.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    save(figure, file)


def plot_learning_curves(points: Sequence[Point], metric: str, file: Path) -> None:
    """Draw the metric of all trials while they trained: the first, the best, thick; the cut short dashed."""
    figure = new_figure(11, 3.8)
    axes = figure.subplots()
    kinds = {"complete": (BLUE, "-", "trained to the end"), "pruned": (ORANGE, "--", "pruned")}
    kinds |= {"diverged": (RED, ":", "diverged"), "failed": (GREY, ":", "failed")}
    named: set[str] = set()
    for point in reversed([p for p in points if p.curve]):
        color, line, label = kinds.get(point.state, (GREY, ":", "running"))
        xs, ys = [x for x, _ in point.curve], [y for _, y in point.curve]
        best = point is points[0]
        axes.plot(
            xs,
            ys,
            line,
            color="black" if best else color,
            lw=2.4 if best else 1.2,
            marker="o" if len(xs) == 1 else "",
            ms=4,
            alpha=1.0 if best else 0.6,
            label=f"the best, trial {point.number}" if best else "_" * (label in named) + label,
        )
        named.add("" if best else label)
    style(axes, "While they trained", "epoch", _name(metric))
    axes.set_xlim(left=0)
    _as_metric(axes, metric)
    _limit(axes, [y for p in points for _, y in p.curve], metric)
    axes.legend(loc="best", frameon=False, fontsize=8)
    save(figure, file)


def _name(metric: str) -> str:
    return "validation accuracy" if metric == "val.accuracy" else "validation loss"


def _as_metric(axes: Axes, metric: str) -> None:
    if metric == "val.accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))


def _usual(values: Sequence[float], metric: str) -> tuple[float, float]:
    """Return the range of the values, the far side of the bad ones cut off: they would flatten the rest."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    middle = ordered[len(ordered) // 2]
    if metric == "val.loss":
        high = min(high, middle + 3 * (middle - low)) if middle > low else high
    else:
        low = max(low, middle - 3 * (high - middle)) if high > middle else low
    return (low, high) if high > low else (low - 0.01, high + 0.01)


def _limit(axes: Axes, values: Sequence[float], metric: str) -> None:
    if values and metric == "val.loss":
        low, high = min(values), _usual(values, metric)[1]
        axes.set_ylim(top=high + 0.1 * (high - low) + 1e-9)


def _colors(metric: str) -> ListedColormap:
    """Return the colours from the lowest value to the highest: the dark end for the good ones."""
    places = [_BRIGHTEST + (1 - _BRIGHTEST) * n / 255 for n in range(256)]
    full = matplotlib.colormaps[_COLORS]
    return ListedColormap([full(place) for place in (places if metric == "val.accuracy" else places[::-1])])


def number_axis(key: str, low: float, high: float, *, log: bool) -> Axis:
    """Return the axis of a numeric parameter, with round ticks; powers of ten on a log one."""
    if log:
        first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
        ticks = {place_on(10.0**n, low, high, log=True): f"{10.0**n:g}" for n in range(first, last + 1)}
    else:
        inner = [x for x in MaxNLocator(5).tick_values(low, high) if low <= x <= high]
        ticks = {place_on(x, low, high, log=False): f"{x:g}" for x in inner}
    for end, place in ((low, 0.0), (high, 1.0)):
        if all(abs(place - other) > _TICK_DISTANCE for other in ticks):
            ticks[place] = f"{end:g}"
    return Axis(key, sorted(ticks.items()))


def place_on(value: float, low: float, high: float, *, log: bool) -> float:
    """Return where a number lies on the axis of its parameter, from 0 to 1."""
    if high <= low:
        return 0.5
    if log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / (high - low)
