"""Several runs side by side: which settings differ, and mean and standard deviation over seeds or folds.

Ranked are runs on the same images, split by the same rule; other runs are a group of their own. They are
ranked by the validation metric that all of them chose, else by accuracy.
"""

import json
import math
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imclass.config.metric import ACCURACY, METRICS, Metric
from imclass.config.schema import SETTINGS, is_compared
from imclass.config.setting import show
from imclass.reports.html import brief_paths, embedded, template
from imclass.reports.plots import plot_comparison
from imclass.reports.same_data import runs_by_data
from imclass.runs.atomic import write_atomically, write_csv
from imclass.runs.records import RunRecord
from imclass.runs.regular import open_regular

SPLITS = {"val": "best", "test": "test"}  # the entry of summary.json that has the figures of a split
LOG_TAIL = 10_000  # bytes of train.log that its last line is looked for in
FIGURES = (*(f"{split}_{name}" for split in SPLITS for name in METRICS), "seconds")


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration: its runs differ only in the seed and the fold."""

    data: str  # what its runs were trained and validated on; the same in each row that it is ranked with
    metric: Metric  # of validation, by which it is ranked; likewise the same in each row
    settings: dict[str, str]  # those that differ between the configurations on these data, paths in short
    runs: tuple[RunRecord, ...]
    names: tuple[str, ...]  # of the runs: their paths below the folder that holds all that are compared
    figures: dict[str, list[float]]  # of each run that finished and has the figure

    @property
    def finished(self) -> bool:
        return bool(self.figures["val_accuracy"])

    @property
    def title(self) -> str:
        """Return the names in short, and the settings: 'a0 to a4: lr 0.1'."""
        names = ", ".join(self.names) if len(self.names) < 3 else f"{self.names[0]} to {self.names[-1]}"
        return f"{names}: {self.label}" if self.label else names

    @property
    def label(self) -> str:
        """Return the settings in short: 'model lenet, lr 0.1'; of a path, only the last part."""
        short = {key.removesuffix(".name").rsplit(".", 1)[-1]: v for key, v in self.settings.items()}
        return ", ".join(f"{key} {value.rsplit('/', 1)[-1]}" for key, value in short.items())

    @property
    def metrics(self) -> list[Metric]:
        """What tables show: what it is ranked by, and the accuracy."""
        return list(dict.fromkeys((self.metric, ACCURACY)))

    @property
    def rank(self) -> float:
        """Return a sort key that puts the best first, and last what lacks the metric."""
        value = self.mean(f"val_{self.metric.name}")
        return math.inf if value is None else self.metric.rank(value)

    def shown(self, split: str, metric: Metric) -> str:
        """Return the mean over the runs, with the standard deviation if there is one: 91.20 % ± 0.30."""
        figure = f"{split}_{metric.name}"
        mean, deviation = self.mean(figure), self.deviation(figure)
        spread = "" if deviation is None else f" ± {metric.show(deviation).removesuffix(' %')}"
        return "" if mean is None else metric.show(mean) + spread

    def mean(self, figure: str) -> float | None:
        return statistics.fmean(self.figures[figure]) if self.figures[figure] else None

    def deviation(self, figure: str) -> float | None:
        """Return the sample standard deviation over the runs; None for one run, or copies of one."""
        drawn = {(run.settings.get("seed"), run.settings.get("dataset.fold")) for run in self.runs}
        values = self.figures[figure]
        return statistics.stdev(values) if len(drawn) > 1 and len(values) > 1 else None


def compare(runs: Sequence[RunRecord]) -> list[Row]:
    """Return one row per configuration, unfinished ones last.

    The others stand together by their data, the best first.
    """
    names = names_of(runs)
    rows: list[Row] = []
    for data, same in runs_by_data(runs).items():
        differing = differing_settings(same)
        short = {key: brief_paths(_value(run, key) for run in same) for key in differing}
        groups: dict[str, list[RunRecord]] = {}
        for run in same:
            values = {key: _value(run, key) for key in differing}
            groups.setdefault(json.dumps([values, run.status]), []).append(run)
        metric = _chosen_metric(same)
        ranked = [_row(data, metric, group, names, short) for group in groups.values()]
        rows += sorted(ranked, key=lambda row: row.rank)
    return sorted(rows, key=lambda row: not row.finished)


def _chosen_metric(runs: Sequence[RunRecord]) -> Metric:
    """Return what made the best model of each finished run, if it is the same for all; else the accuracy."""
    chosen = {_value(run, "checkpoint.metric") for run in runs if run.status == "finished"}
    return METRICS[chosen.pop()] if len(chosen) == 1 else ACCURACY


def names_of(runs: Sequence[RunRecord]) -> dict[Path, str]:
    """Return the runs' paths below the folder that holds them all: that of a multirun names its jobs' too."""
    shared = os.path.commonpath([run.path.absolute().parent for run in runs])
    return {run.path: str(run.path.absolute().relative_to(shared)) for run in runs}


def differing_settings(runs: Sequence[RunRecord]) -> list[str]:
    """Return the keys whose values differ between the runs, without seed, name and the like.

    `dataset.root` counts only if the runs were not all trained on the same images.
    """
    same_data = len({run.provenance.get("data_fingerprint") for run in runs}) == 1
    keys = list(dict.fromkeys(key for run in runs for key in run.settings))
    keys = [key for key in keys if is_compared(key) or (key == "dataset.root" and not same_data)]
    return [key for key in keys if len({json.dumps(_value(run, key)) for run in runs}) > 1]


def _value(run: RunRecord, key: str) -> Any:
    """Return a setting of a run; of one that is newer than the run, the default.

    None for what has no effect beside another setting, and for steps, which train.budget measured.
    """
    declared = SETTINGS.get(key)
    rivals = ("train.budget",) if key == "train.steps" else declared.overridden_by if declared else ()
    if any(map(run.settings.get, rivals)):
        return None
    return run.settings.get(key, declared.default if declared else None)


def table(rows: Sequence[Row]) -> list[list[Any]]:
    """Return the rows of comparison.csv: runs, settings, mean and standard deviation of each figure."""
    names = [name for figure in FIGURES for name in (figure, f"{figure}_std")]
    keys = differing_settings([run for row in rows for run in row.runs])
    lines: list[list[Any]] = [["runs", "count", "status", "data", *keys, *names]]
    for row in rows:
        runs, status = " ".join(row.names), row.runs[0].status
        figures = [value for figure in FIGURES for value in (row.mean(figure), row.deviation(figure))]
        settings = [show(_value(row.runs[0], key)) for key in keys]
        lines.append([runs, len(row.runs), status, row.data, *settings, *figures])
    return lines


def _row(
    data: str,
    metric: Metric,
    runs: Sequence[RunRecord],
    names: Mapping[Path, str],
    short: Mapping[str, Mapping[str, str]],
) -> Row:
    settings = {key: values[show(_value(runs[0], key))] for key, values in short.items()}
    finished = [run.summary for run in runs if run.status == "finished"]
    figures = {
        f"{split}_{name}": [summary[entry][name] for summary in finished if name in summary[entry]]
        for split, entry in SPLITS.items()
        for name in METRICS
    }
    figures["seconds"] = [summary["seconds"]["total"] for summary in finished]
    return Row(data, metric, settings, tuple(runs), tuple(names[run.path] for run in runs), figures)


def write_comparison_page(runs: Sequence[RunRecord], file: Path) -> list[Row]:
    """Write a comparison as one HTML file, and its table beside it as CSV; return the table."""
    rows = compare(runs)
    ranked: dict[str, list[Row]] = {}
    for row in rows:
        if row.finished:
            ranked.setdefault(row.data, []).append(row)
    page = template("comparison.html").render(
        tables=[(data, same, _curves(same)) for data, same in ranked.items()],
        failed=[
            (name, run.status, _last_line(run))
            for row in rows
            if not row.finished
            for name, run in zip(row.names, row.runs, strict=True)
        ],
        count=len(runs),
        on_test=any(run.validates_on_test for run in runs),
    )
    write_atomically(file, page)
    write_csv(file.with_suffix(".csv"), table(rows))
    return rows


def _curves(rows: Sequence[Row]) -> str | None:
    with tempfile.TemporaryDirectory() as scratch:
        picture = Path(scratch) / "curves.png"
        groups = [(row.title, [run.metrics for run in row.runs]) for row in rows]
        plot_comparison(groups, picture, rows[0].metric.name)
        return embedded(picture)


def _last_line(run: RunRecord) -> str:
    log = run.path / "train.log"
    try:
        with open_regular(log) as file:
            file.seek(max(0, log.stat().st_size - LOG_TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:  # the run has not come that far
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
