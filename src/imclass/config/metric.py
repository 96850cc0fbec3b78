"""The figures of an evaluation: which way is better, and how each is called and printed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of `Result.figures`; what plots, tables and sweeps need to know of it."""

    name: str  # in metrics.jsonl and summary.json
    label: str
    maximize: bool
    percent: bool  # a fraction from 0 to 1, printed in %

    def rank(self, value: float) -> float:
        """Return a sort key that puts the best value first."""
        return -value if self.maximize else value

    def show(self, value: float) -> str:
        return f"{100 * value:.2f} %" if self.percent else f"{value:.4f}"


ACCURACY = Metric("accuracy", "accuracy", maximize=True, percent=True)
LOSS = Metric("loss", "loss (cross entropy per image)", maximize=False, percent=False)
METRICS = {metric.name: metric for metric in (ACCURACY, LOSS)}
