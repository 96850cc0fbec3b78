"""Learning rates: those of a schedule over its epochs, and the losses of a range test over its rates."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.ticker import MaxNLocator

from imclass.reports.plots.style import BLUE, GREY, ORANGE, new_figure, save, style


def plot_schedule(rates: Sequence[float], steps_per_epoch: int, evaluated: Sequence[int], file: Path) -> None:
    """Draw the rate of each step, and a dot where an evaluation follows, as a PNG.

    evaluated: the steps that an evaluation follows, counted from 1.
    """
    figure = new_figure(11, 3)
    axes = figure.subplots()
    epochs = [(step + 1) / steps_per_epoch for step in range(len(rates))]  # as in the run's own curves
    axes.plot(epochs, rates, color=BLUE, marker="o" if len(rates) == 1 else "", label="learning rate")
    at = [step / steps_per_epoch for step in evaluated]
    axes.plot(at, [rates[step - 1] for step in evaluated], "o", ms=4, color=ORANGE, label="validation")
    style(axes, "Learning rate", "epoch")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 5, 10]))
    axes.legend(loc="best", frameon=False, fontsize=8)
    save(figure, file)


def plot_range_test(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestion: float | None,
    file: Path,
) -> None:
    """Draw the loss over the learning rate, on a logarithmic scale, as a PNG."""
    figure = new_figure(9, 4)
    axes = figure.subplots()
    axes.plot(rates, losses, ".", color=GREY, alpha=0.4, ms=4, label="loss of a batch")
    axes.plot(rates, smoothed, color=BLUE, label="smoothed")
    if suggestion is not None:
        axes.axvline(suggestion, color=ORANGE, linestyle="--", label=f"suggestion: {suggestion:.2g}")
    axes.set_xscale("log")
    low, first = min(smoothed), smoothed[0]
    margin = max(first - low, 0.05 * first)
    axes.set_ylim(low - 0.3 * margin, first + 1.0 * margin)  # what explodes leaves the picture
    style(axes, "Learning-rate range test", "learning rate", "training loss")
    axes.legend(loc="lower left", frameon=False, fontsize=8)
    save(figure, file)
