"""Several runs side by side: which settings differ, and mean and standard deviation over seeds."""

import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imclass.config.metric import METRICS
from imclass.config.schema import is_compared
from imclass.config.setting import show
from imclass.reports.html import embedded, template
from imclass.reports.plots import plot_comparison
from imclass.runs.atomic import write_atomically, write_csv
from imclass.runs.records import RunRecord
from imclass.runs.regular import open_regular

SPLITS = {"val": "best", "test": "test"}  # the entry of summary.json that has the figures of a split
LOG_TAIL = 10_000  # bytes of train.log that its last line is looked for in
FIGURES = (*(f"{split}_{name}" for split in SPLITS for name in METRICS), "seconds")


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration: its runs differ only in the seed."""

    settings: dict[str, str]  # those that differ between the configurations, as the user types them
    runs: tuple[RunRecord, ...]
    figures: dict[str, list[float]]  # of each run that finished and has the figure

    @property
    def finished(self) -> bool:
        return bool(self.figures["val_accuracy"])

    @property
    def label(self) -> str:
        """Return the settings in short: 'model lenet, lr 0.1'; of a path, only the last part."""
        short = {key.removesuffix(".name").rsplit(".", 1)[-1]: v for key, v in self.settings.items()}
        return ", ".join(f"{key} {value.rsplit('/', 1)[-1]}" for key, value in short.items())

    def mean(self, figure: str) -> float | None:
        return statistics.fmean(self.figures[figure]) if self.figures[figure] else None

    def deviation(self, figure: str) -> float | None:
        """Return the sample standard deviation over the runs; None for one run, or repeats of one seed."""
        seeds, values = {run.settings.get("seed") for run in self.runs}, self.figures[figure]
        return statistics.stdev(values) if len(seeds) > 1 and len(values) > 1 else None


def compare(runs: Sequence[RunRecord]) -> list[Row]:
    """Return one row per configuration, the best validation accuracy first, unfinished ones last."""
    differing = differing_settings(runs)
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        values = {key: run.settings.get(key) for key in differing}
        groups.setdefault(json.dumps([values, run.status]), []).append(run)
    rows = [_row(group, differing) for group in groups.values()]
    return sorted(rows, key=lambda row: (not row.finished, -(row.mean("val_accuracy") or 0)))


def differing_settings(runs: Sequence[RunRecord]) -> list[str]:
    """Return the keys whose values differ between the runs, without seed, name and the like.

    `dataset.root` counts only if the runs were not all trained on the same images.
    """
    same_data = len({run.provenance.get("data_fingerprint") for run in runs}) == 1
    keys = list(dict.fromkeys(key for run in runs for key in run.settings))
    keys = [key for key in keys if is_compared(key) or (key == "dataset.root" and not same_data)]
    return [key for key in keys if len({json.dumps(run.settings.get(key)) for run in runs}) > 1]


def table(rows: Sequence[Row]) -> list[list[Any]]:
    """Return the rows of comparison.csv: runs, settings, mean and standard deviation of each figure."""
    names = [name for figure in FIGURES for name in (figure, f"{figure}_std")]
    lines: list[list[Any]] = [["runs", "count", "status", *rows[0].settings, *names]]
    for row in rows:
        runs, status = " ".join(run.name for run in row.runs), row.runs[0].status
        figures = [value for figure in FIGURES for value in (row.mean(figure), row.deviation(figure))]
        lines.append([runs, len(row.runs), status, *row.settings.values(), *figures])
    return lines


def _row(runs: Sequence[RunRecord], differing: Sequence[str]) -> Row:
    settings = {key: show(runs[0].settings.get(key)) for key in differing}
    finished = [run.summary for run in runs if run.status == "finished"]
    figures = {
        f"{split}_{name}": [summary[entry][name] for summary in finished if name in summary[entry]]
        for split, entry in SPLITS.items()
        for name in METRICS
    }
    figures["seconds"] = [summary["seconds"]["total"] for summary in finished]
    return Row(settings, tuple(runs), figures)


def write_comparison_page(runs: Sequence[RunRecord], file: Path) -> list[Row]:
    """Write a comparison as one HTML file, and its table beside it as CSV; return the table."""
    rows = compare(runs)
    finished = [row for row in rows if row.finished]
    with tempfile.TemporaryDirectory() as scratch:
        picture = Path(scratch) / "curves.png"
        groups = [(row.label or row.runs[0].name, [run.metrics for run in row.runs]) for row in finished]
        plot_comparison(groups, picture)
        curves = embedded(picture)
    page = template("comparison.html").render(
        rows=finished,
        failed=[(run, _last_line(run)) for row in rows if not row.finished for run in row.runs],
        settings=list(rows[0].settings),
        curves=curves,
        count=len(runs),
        on_test=any(run.settings.get("dataset.val_split") == "test" for run in runs),
    )
    write_atomically(file, page)
    write_csv(file.with_suffix(".csv"), table(rows))
    return rows


def _last_line(run: RunRecord) -> str:
    log = run.path / "train.log"
    try:
        with open_regular(log) as file:
            file.seek(max(0, log.stat().st_size - LOG_TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:  # the run has not come that far
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
