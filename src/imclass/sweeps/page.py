"""The report of a sweep: sweep.html, sweep.csv and best.yaml, from what lies in its folder."""

import shlex
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna
from optuna.trial import TrialState

from imclass.errors import UserError
from imclass.reports.html import embedded, template
from imclass.reports.plots.search import (
    Axis,
    Point,
    number_axis,
    place_on,
    plot_history,
    plot_importance,
    plot_learning_curves,
    plot_parallel,
)
from imclass.runs.atomic import write_atomically
from imclass.runs.records import read_metrics
from imclass.sweeps.best import train_command, write_best
from imclass.sweeps.results import Results, Row, read_results, write_csv
from imclass.sweeps.space import Parameter

ENOUGH = 12  # trials, before importance says anything
BEST_PART = 0.25  # of the trials is what importance looks at
_JITTER = 0.05  # of an axis, so that the lines through one category can be told apart


def write_report(folder: Path, page: Path) -> Results:
    """Write the page, a CSV file beside it, and the sweep's best.yaml; return what was found.

    A best.yaml that cannot be made costs a line on stderr, not the rest.
    Raises UserError when the folder is not what a sweep writes.
    """
    results = read_results(folder)
    write_csv(results, page.with_suffix(".csv"))
    best = results.best
    experiment = _write_best(results, best) if best else None
    with tempfile.TemporaryDirectory() as scratch:
        pictures = {title: embedded(file) for title, file in _draw(results, Path(scratch)).items()}
    command = shlex.join(["imclass", "train", *results.overrides(best)]) if best else None
    write_atomically(
        page,
        template("sweep.html").render(
            results=results,
            best=best,
            pictures=pictures,
            command=command,
            experiment=experiment,
            seconds=sum(row.seconds for row in results.rows),
            shared=results.stored["overrides"],
            repeated=any(row.repeats for row in results.rows),
        ),
    )
    return results


def _write_best(results: Results, best: Row) -> str | None:
    """Write best.yaml; return the command that trains it, None if it cannot be made."""
    file = results.folder / "best.yaml"
    try:
        write_best(results, best, file)
    except UserError as error:
        print(f"imclass: {file}: cannot be made: {str(error).splitlines()[0]}", file=sys.stderr)
        return None
    return train_command(file)


def _draw(results: Results, scratch: Path) -> dict[str, Path]:
    """Draw what there is enough for; return the pictures with a sentence on each."""
    metric = results.metric
    known = ((row, row.value if row.value is not None else row.last_value) for row in results.rows)
    points = [_point(results, row, value) for row, value in known if value is not None]
    drawn: dict[str, Path] = {}
    if not points:
        return drawn
    plot_history(points, metric, file := scratch / "history.png")
    drawn[
        "How the search went. A pruned trial was stopped at an evaluation at which it was behind those that "
        "the pruner compares it with: all (median), or its bracket, which may prune late (hyperband)."
    ] = file
    if shares := importance(results.study):
        plot_importance(shares, file := scratch / "importance.png")
        drawn[
            "What mattered: how differently each setting is spread in the best quarter of the trials and in "
            "all of them (PED-ANOVA, arXiv:2304.10255; pruned ones count with their last value). With few "
            "trials, a hint at most."
        ] = file
    if len(results.space) > 1:
        axes = [_axis(parameter) for parameter in results.space.values()]
        plot_parallel(points, axes, metric, file := scratch / "parallel.png")
        drawn["What goes with what: dark lines are good configurations, the thick one is the best."] = file
    if any(point.curve for point in points):
        plot_learning_curves(points, metric, file := scratch / "curves.png")
        drawn["The validation figures of all trials, over epochs."] = file
    return drawn


def importance(study: optuna.Study) -> dict[str, float]:
    """Return the share of each parameter, adding up to 1; empty where the trials tell nothing.

    Pruned trials count with their last value: left out, the bad regions would be missing.
    """
    told = optuna.create_study(direction=study.direction)
    for trial in study.get_trials(deepcopy=True, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        if trial.value is not None:
            trial.state = TrialState.COMPLETE
            told.add_trial(trial)
    if len(told.trials) < ENOUGH:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BEST_PART)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that few trials say little is in the page's own words
        shares = optuna.importance.get_param_importances(told, evaluator=evaluator)
    return dict(shares) if sum(shares.values()) > 0 else {}


def _point(results: Results, row: Row, value: float) -> Point:
    return Point(
        number=row.number,
        state=row.state,
        value=value,
        position={name: _place(results.space[name], drawn, row.number) for name, drawn in row.params.items()},
        curve=_curve(results, row),
    )


def _curve(results: Results, row: Row) -> list[tuple[float, float]]:
    """Return the metric over epochs; a damaged record costs a line on stderr and this curve."""
    file, key = results.folder / row.folder / "metrics.jsonl", results.metric.removeprefix("val.")
    try:
        records = [r for r in read_metrics(file) if r["split"] == "val" and r[key] is not None]
        return [(record["epoch"], record[key]) for record in records]
    except (OSError, ValueError, KeyError):
        print(f"imclass: {file}: cannot be read as a run's record; its curve is left out", file=sys.stderr)
        return []


def _axis(parameter: Parameter) -> Axis:
    if parameter.is_interval:
        return number_axis(parameter.key, parameter.low, parameter.high, log=parameter.log)
    places = _spread(parameter.values)
    return Axis(parameter.key, [(place, text) for text, place in places.items()])


def _place(parameter: Parameter, value: float | str, number: int) -> float:
    """Return where trial `number` crosses an axis; categories are spread a little."""
    if parameter.is_interval:
        return place_on(float(value), parameter.low, parameter.high, log=parameter.log)
    return _spread(parameter.values)[parameter.text(value)] + _JITTER * (number * 0.618 % 1 - 0.5)


def _spread(values: Sequence[str]) -> Mapping[str, float]:
    """Return where categories lie on an axis: evenly, in their order."""
    return {text: n / (len(values) - 1) if len(values) > 1 else 0.5 for n, text in enumerate(values)}
