"""The report of a sweep: sweep.html, sweep.csv and best.yaml, from what lies in its folder."""

import shlex
import tempfile
import warnings
from pathlib import Path

import optuna
from optuna.trial import TrialState

from imclass.endings import say
from imclass.errors import UserError, first_line
from imclass.reports.html import embedded, template
from imclass.reports.plots.search import (
    Axis,
    Point,
    plot_history,
    plot_importance,
    plot_learning_curves,
    plot_slices,
)
from imclass.runs.atomic import write_atomically, write_csv
from imclass.runs.records import read_metrics
from imclass.sweeps.best import train_command, write_best
from imclass.sweeps.results import Results, Row, csv_rows, read_results, table
from imclass.sweeps.store import Store

ENOUGH = 12  # trials for importance to mean anything
BEST_PART = 0.25  # of the trials, compared with all of them by importance


def write_report(folder: Path, page: Path, store: Store) -> Results:
    """Write the page, a CSV file beside it, and the sweep's best.yaml; return what was found.

    If best.yaml cannot be written, the reason goes to stderr, and the rest is written.
    Raises UserError if a sweep did not write the folder.
    """
    results = read_results(folder, store)
    write_csv(page.with_suffix(".csv"), csv_rows(results))
    best = results.best
    experiment = _write_best(results, best) if best else None
    with tempfile.TemporaryDirectory() as scratch:
        pictures = {title: embedded(file) for title, file in _draw(results, Path(scratch)).items()}
    html = template("sweep.html").render(
        results=results,
        best=best,
        pictures=pictures,
        command=shlex.join(["imclass", "train", *results.overrides(best)]) if best else None,
        experiment=experiment,
        seconds=sum(row.seconds for row in results.rows),
        repeated=any(row.repeats for row in results.rows),
    )
    write_atomically(page, html)
    return results


def summary(results: Results, page: Path) -> str:
    """Return the table, how to train the best configuration, and where to look."""
    best, rows = results.folder / "best.yaml", page.with_suffix(".csv")
    lines = [f"best       {train_command(best)}"] if best.exists() else []
    return "\n".join([table(results, rows), *lines, f"look at    {page}, {rows}"])


def _write_best(results: Results, best: Row) -> str | None:
    """Write best.yaml; return the command that trains it, None if it cannot be written."""
    file = results.folder / "best.yaml"
    try:
        write_best(results, best, file)
    except UserError as error:
        say(f"{file}: cannot be written: {first_line(error)}")
        return None
    return train_command(file)


def _draw(results: Results, scratch: Path) -> dict[str, Path]:
    """Draw the plots that the trials suffice for; return {what it shows: file}."""
    metric, parameters = results.metric, results.space.values()
    points = [
        Point(row.number, row.state, row.value, row.settings, _curve(results, row))
        for row in results.rows
        if row.value is not None
    ]
    drawn: dict[str, Path] = {}
    if not points:
        return drawn
    plot_history(points, metric, file := scratch / "history.png")
    drawn[
        "How the search went. A pruned trial was stopped when it fell behind the trials that the pruner "
        "compares it with: all of them (median) or its bracket (hyperband, which may prune late)."
    ] = file
    if shares := importance(results.study):
        plot_importance(shares, file := scratch / "importance.png")
        drawn[
            "What mattered: how far the distribution of a setting in the best quarter of the trials differs "
            "from that in all trials (PED-ANOVA, arXiv:2304.10255). Pruned trials count with their last "
            "value. With few trials, this is only a hint."
        ] = file
    axes = [Axis(p.key, () if p.is_number else p.values, p.log) for p in parameters]
    plot_slices(points, axes, metric, file := scratch / "slices.png")
    drawn["Which values work: every trial over each setting."] = file
    if any(point.curve for point in points):
        plot_learning_curves(points, metric, file := scratch / "curves.png")
        drawn["The validation figures of all trials, over epochs."] = file
    return drawn


def importance(study: optuna.Study) -> dict[str, float]:
    """Return the share of each parameter, adding up to 1; empty if the trials are too few or all equal.

    Pruned trials count with their last value: without them, the bad regions would be missing.
    """
    ended = optuna.create_study(direction=study.direction)
    for trial in study.get_trials(deepcopy=True, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        if trial.value is not None:
            trial.state = TrialState.COMPLETE
            ended.add_trial(trial)
    if len(ended.trials) < ENOUGH:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BEST_PART)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the page itself warns that few trials say little
        shares = optuna.importance.get_param_importances(ended, evaluator=evaluator)
    return dict(shares) if sum(shares.values()) > 0 else {}


def _curve(results: Results, row: Row) -> list[tuple[float, float]]:
    """Return the metric over epochs; a damaged record costs a line on stderr and this curve."""
    if row.curve is not None:
        return [(epoch, value) for epoch, value in row.curve if value is not None]
    file, key = results.folder / row.folder / "metrics.jsonl", results.metric.name
    try:
        records = [r for r in read_metrics(file) if r["split"] == "val" and r.get(key) is not None]
        return [(record["epoch"], record[key]) for record in records]
    except UserError as error:
        say(f"{error}; its curve is left out")
        return []
