"""How many images each class has."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from imclass.reports.plots.style import BLUE, GREY, SKY, YELLOW, new_figure, save, shortened, style

NAMED = 40  # with at most this many classes, each has a bar with its name
COLORS = {"train": BLUE, "val": SKY, "test": YELLOW}


def plot_classes(counts: Mapping[str, Sequence[int]], classes: Sequence[str], file: Path) -> None:
    """Draw the images of each class as a PNG: stacked bars, the class with the most images first.

    counts: {split: images of each class}.
    """
    order = sorted(range(len(classes)), key=lambda number: -sum(count[number] for count in counts.values()))
    named = len(classes) <= NAMED
    figure = new_figure(7.5, 0.9 + 0.24 * len(classes)) if named else new_figure(11, 3)
    axes = figure.subplots()
    ends = [0] * len(classes)
    for split, own in counts.items():
        values, label = [own[number] for number in order], f"{split} ({sum(own):,})"
        if named:
            axes.barh(range(len(order)), values, left=ends, color=COLORS[split], label=label)
        else:
            axes.bar(range(len(order)), values, bottom=ends, width=1.0, color=COLORS[split], label=label)
        ends = [end + value for end, value in zip(ends, values, strict=True)]
    if named:
        _name_bars(axes, [shortened(classes[number], 24) for number in order], ends)
    else:
        most, least = (shortened(classes[order[place]], 24) for place in (0, -1))
        style(axes, "Images per class", f"classes, from {most} ({ends[0]:,}) to {least} ({ends[-1]:,})")
        axes.margins(x=0.01)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    save(figure, file)


def _name_bars(axes: Axes, names: Sequence[str], ends: Sequence[int]) -> None:
    style(axes, "Images per class", "")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    for place, end in enumerate(ends):
        axes.text(end, place, f" {end:,}", va="center", fontsize=8, color=GREY)
    axes.margins(x=0.1)
