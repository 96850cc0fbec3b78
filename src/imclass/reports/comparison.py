"""Several runs side by side: what differs, and mean and spread over seeds."""

import csv
import io
import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imclass.config.check import show
from imclass.config.schema import is_compared
from imclass.reports.html import embedded, template
from imclass.reports.plots import plot_comparison
from imclass.runs.atomic import write_atomically
from imclass.runs.records import RunRecord

FIGURES = ("val_accuracy", "val_loss", "test_accuracy", "test_loss", "seconds")


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration: its runs differ in the seed only."""

    settings: dict[str, str]  # those that differ between the configurations, as the user types them
    runs: tuple[RunRecord, ...]
    figures: dict[str, list[float]]  # of each run; empty if none finished

    @property
    def finished(self) -> bool:
        return bool(self.figures["val_accuracy"])

    @property
    def label(self) -> str:
        """Return the settings in short: 'model lenet, lr 0.1'; of a path, its last part."""
        short = {key.removesuffix(".name").rsplit(".", 1)[-1]: v for key, v in self.settings.items()}
        return ", ".join(f"{key} {value.rsplit('/', 1)[-1]}" for key, value in short.items())

    def mean(self, figure: str) -> float:
        return statistics.fmean(self.figures[figure])

    def deviation(self, figure: str) -> float | None:
        """Return the sample standard deviation over the runs; None for one run, or repeats of one seed."""
        seeds = {run.settings.get("seed") for run in self.runs}
        return statistics.stdev(self.figures[figure]) if len(seeds) > 1 else None


def compare(runs: Sequence[RunRecord]) -> list[Row]:
    """Return one row per configuration, the best validation accuracy first, unfinished ones last."""
    differing = differing_settings(runs)
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        values = {key: run.settings.get(key) for key in differing}
        groups.setdefault(json.dumps([values, run.status]), []).append(run)
    rows = [_row(group, differing) for group in groups.values()]
    return sorted(rows, key=lambda row: -row.mean("val_accuracy") if row.finished else 1.0)


def differing_settings(runs: Sequence[RunRecord]) -> list[str]:
    """Return the keys, without seed, name and the like, that do not have one value in all runs.

    Where the data lie counts only if the runs were not all trained on the same images.
    """
    same_data = len({run.provenance.get("data_fingerprint") for run in runs}) == 1
    keys = list(dict.fromkeys(key for run in runs for key in run.settings))
    keys = [key for key in keys if is_compared(key) or (key == "dataset.root" and not same_data)]
    return [key for key in keys if len({json.dumps(run.settings.get(key)) for run in runs}) > 1]


def write_csv(rows: Sequence[Row], file: Path) -> None:
    """Write the table: settings, number and status of runs, mean and standard deviation of each figure."""
    settings = list(rows[0].settings)
    names = [name for figure in FIGURES for name in (figure, f"{figure}_std")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["runs", "count", "status", *settings, *names])
    for row in rows:
        figures: list[Any] = [None] * len(names)
        if row.finished:
            figures = [value for f in FIGURES for value in (row.mean(f), row.deviation(f))]
        runs = " ".join(run.name for run in row.runs)
        writer.writerow([runs, len(row.runs), row.runs[0].status, *row.settings.values(), *figures])
    write_atomically(file, text.getvalue())


def _row(runs: Sequence[RunRecord], differing: Sequence[str]) -> Row:
    settings = {key: show(runs[0].settings.get(key)) for key in differing}
    finished = [run.summary for run in runs if run.status == "finished"]
    figures = {
        "val_accuracy": [summary["best"]["accuracy"] for summary in finished],
        "val_loss": [summary["best"]["loss"] for summary in finished],
        "test_accuracy": [summary["test"]["accuracy"] for summary in finished],
        "test_loss": [summary["test"]["loss"] for summary in finished],
        "seconds": [summary["seconds"]["total"] for summary in finished],
    }
    return Row(settings, tuple(runs), figures)


def write_comparison_page(runs: Sequence[RunRecord], file: Path) -> list[Row]:
    """Write a comparison as one HTML file, and its table beside it as CSV; return the table."""
    rows = compare(runs)
    finished = [row for row in rows if row.finished]
    with tempfile.TemporaryDirectory() as scratch:
        picture = Path(scratch) / "curves.png"
        plot_comparison([(_name(row), [run.metrics for run in row.runs]) for row in finished], picture)
        curves = embedded(picture)
    page = template("comparison.html").render(
        rows=finished,
        failed=[(run, _last_words(run)) for row in rows if not row.finished for run in row.runs],
        settings=list(rows[0].settings),
        curves=curves,
        count=len(runs),
        on_test=any(run.settings.get("dataset.val_split") == "test" for run in runs),
    )
    write_atomically(file, page)
    write_csv(rows, file.with_suffix(".csv"))
    return rows


def _name(row: Row) -> str:
    return row.label or row.runs[0].name


def _last_words(run: RunRecord) -> str:
    log = run.path / "train.log"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "")
