"""The page of one run: report.html, one file that opens offline."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imclass.config.check import flatten
from imclass.config.compose import compose_config
from imclass.config.metric import ACCURACY, LOSS, Metric, by_class
from imclass.config.schema import affects_results, values_of
from imclass.endings import say
from imclass.reports.html import brief_path, embedded, template
from imclass.reports.plots import plot_curves
from imclass.reports.split_report import draw_scores
from imclass.runs.atomic import write_atomically
from imclass.runs.contents import require_own_folders
from imclass.runs.records import Record, RunRecord, commands, read_run

PLOTS = {
    "curves": "Accuracy, loss and learning rate during training",
    "confusion_matrix": "Which classes it confuses",
    "calibration": "How far its probabilities can be trusted",
    "mistakes": "Its most confident mistakes, and what they rest on",
    "predictions": "Its predictions for some test images of each class",
    "samples": "",  # their own titles say it
    "classes": "",
}
OF_THE_DATA = ("classes", "samples")  # plots that are drawn before the training


def write_run_page(
    path: Path,
    file: Path,
    *,
    redraw: bool = True,
    points: Sequence[Record] | None = None,
    summary: Mapping[str, Any] | None = None,
) -> list[str]:
    """Write the report of the run folder `path` as one HTML file; return the names of missing plots.

    redraw: draw curves, confusion matrix and calibration again from the run's records, into `plots/` unless
    the page goes elsewhere. Other plots are read from `plots/`. points: those of metrics.jsonl; None to read
    them, and to warn of a summary that they contradict. summary: what summary.json will be; None to read it.
    Raises UserError if the records cannot be read.
    """
    require_own_folders(path)
    run = read_run(path, points)
    run.summary.update(summary or {})
    if points is None and run.edited:
        say(f"warning: {run.edited}")
    chosen = run.settings.get("checkpoint.metric", ACCURACY.name)
    with tempfile.TemporaryDirectory() as scratch:
        drawn = path / "plots" if file.parent.resolve() == path.resolve() else Path(scratch)
        if run.metrics and redraw:
            plot_curves(run.metrics, run.summary["best"], drawn / "curves.png", chosen)
        if run.scores and redraw:
            draw_scores(run.scores, drawn)
        found = {
            name: embedded(drawn / f"{name}.png") or embedded(path / f"plots/{name}.png") for name in PLOTS
        }
    plots = {name: (PLOTS[name], png) for name, png in found.items() if png is not None}
    missing = [name for name in PLOTS if name not in plots]
    facts = {key: value for key, value in run.provenance.items() if key not in ("command", "resumed")}
    page = template("run.html").render(
        run=run,
        metrics=_metrics(run, chosen),
        changed=_changed(run),
        settings={key: brief_path(value) for key, value in run.settings.items()},
        classes=sorted(run.scores.get("classes", []), key=lambda row: row["f1"]),
        plots=plots,
        missing=missing,
        commands=commands(run.provenance),
        facts={key: _fact(value) for key, value in flatten(facts).items()},
        resumed=[_session(session) for session in run.provenance.get("resumed") or []],
    )
    write_atomically(file, page)
    return missing


def _metrics(run: RunRecord, chosen: str) -> list[Metric]:
    """Return the metrics of the page's cards: first what chose the best model, or accuracy in older runs."""
    best = run.summary["best"] or {}
    shown = [ACCURACY, LOSS, *by_class(run.summary["test"] or best, chosen)]
    return sorted(shown, key=lambda metric: metric.name != chosen or metric.name not in best)


def _changed(run: RunRecord) -> dict[str, str]:
    """Return the settings that differ from those of a bare `imclass train`, as the user types them.

    Those without effect on a run's figures, such as logger.*, are left out; not what it was trained on.
    """
    defaults = values_of(compose_config([], [], to_train=False))
    others = {key: value for key, value in run.settings.items() if value != defaults.get(key)}
    return {k: brief_path(v) for k, v in others.items() if affects_results(k) or k == "dataset.root"}


def _fact(value: object) -> object:
    return brief_path(value) if isinstance(value, str) else value


def _session(session: Mapping[str, Any]) -> str:
    """Return in words when a run was resumed, and what was not as when it began."""
    others = flatten({key: value for key, value in session.items() if key not in ("command", "started")})
    differing = ", ".join(f"{key} {_fact(value)}" for key, value in others.items())
    when = str(session.get("started", "at an unknown time")).replace("T", " ").replace("+00:00", " UTC")
    return f"{when}, {f'with other {differing}' if differing else 'with all else the same'}"
