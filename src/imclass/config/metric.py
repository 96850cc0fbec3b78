"""The figures of an evaluation: which way is better, and how each is called and printed."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of `Result.figures`; what plots, tables and sweeps need to know of it."""

    name: str  # in metrics.jsonl and summary.json
    label: str
    maximize: bool
    percent: bool  # a fraction from 0 to 1, printed in %
    by_class: bool = False  # a mean over classes, each counting the same; of evaluations, not of training

    @property
    def brief(self) -> str:
        return self.label.split(" (")[0]

    def rank(self, value: float) -> float:
        """Return a sort key that puts the best value first."""
        return -value if self.maximize else value

    def show(self, value: float) -> str:
        return f"{100 * value:.2f} %" if self.percent else f"{value:.4f}"


ACCURACY = Metric("accuracy", "accuracy", maximize=True, percent=True)
LOSS = Metric("loss", "loss (cross entropy per image)", maximize=False, percent=False)
BALANCED_ACCURACY = Metric(
    "balanced_accuracy", "balanced accuracy", maximize=True, percent=True, by_class=True
)
MACRO_F1 = Metric("macro_f1", "macro F1", maximize=True, percent=True, by_class=True)
METRICS = {metric.name: metric for metric in (ACCURACY, LOSS, BALANCED_ACCURACY, MACRO_F1)}


def by_class(figures: Mapping[str, float], chosen: str = "") -> list[Metric]:
    """Return the metrics by class that add to the accuracy: all where classes are uneven, else the chosen.

    Of evenly many images per class, the balanced accuracy is the accuracy. chosen: what makes a model the
    best. Older runs lack these metrics.
    """
    accuracies = {f"{figures[m.name]:.2%}" for m in (ACCURACY, BALANCED_ACCURACY) if m.name in figures}
    found = [m for m in METRICS.values() if m.by_class and m.name in figures]
    return [m for m in found if len(accuracies) > 1 or m.name == chosen]


def by_class_in_words(figures: Mapping[str, float], chosen: str = "") -> str:
    """Return the figures of these metrics, to stand behind the accuracy and the loss."""
    shown = by_class(figures, chosen)
    return "".join(f", {m.label.removesuffix(' accuracy')} {figures[m.name]:.2%}" for m in shown)
