"""What a sweep has found, read back from its folder: one row per configuration."""

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from imclass.config.metric import ACCURACY, METRICS, Metric
from imclass.config.overrides import key_of
from imclass.folding import in_columns, width_of
from imclass.sweeps.request import JOURNAL
from imclass.sweeps.space import Parameter, settings_of, stored_space
from imclass.sweeps.store import Store, open_store, place_of
from imclass.sweeps.stored import read_stored
from imclass.sweeps.study import folder_of, ranked, state_of


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration: how its trial ended, and its figures on fresh seeds if there are any."""

    number: int
    folder: str  # below the sweep's
    state: str  # complete, pruned, diverged, failed, running, interrupted
    value: float | None  # the metric: of the best model of a complete trial, else at the last evaluation
    settings: Mapping[str, str]  # as the user types them
    seconds: float
    test: Mapping[str, float] | None  # loss, accuracy
    attempts: int
    cause: str  # of a failure or divergence
    repeats: tuple[float, ...]  # the metric on each fresh seed
    repeats_test: tuple[float, ...]  # test accuracy on each
    log: str  # HOST:PATH where it is on another machine
    settings_of_run: Mapping[str, Any] | None  # of config.yaml; None: only the run's folder has it
    curve: Sequence[tuple[float, float]] | None  # epoch, metric; likewise

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.repeats) if self.repeats else None

    @property
    def deviation(self) -> float | None:
        """Return the sample standard deviation over the fresh seeds; None for one."""
        return statistics.stdev(self.repeats) if len(self.repeats) > 1 else None


@dataclass(frozen=True, slots=True)
class Failure:
    """A trial, or its repetition on another seed, whose last attempt failed."""

    folder: str  # its run's
    attempts: int
    cause: str
    log: str


@dataclass(frozen=True, slots=True)
class Results:
    """A sweep, read back."""

    folder: Path
    stored: Mapping[str, Any]  # sweep.yaml
    space: Mapping[str, Parameter]
    rows: tuple[Row, ...]  # the best first, those that did not complete last
    failures: tuple[Failure, ...]
    study: optuna.Study

    @property
    def metric(self) -> Metric:
        return _metric(self.stored)

    @property
    def best(self) -> Row | None:
        return self.rows[0] if self.rows and self.rows[0].state == "complete" else None

    def count(self, state: str) -> int:
        return sum(row.state == state for row in self.rows)

    def show(self, value: float | None) -> str:
        return "" if value is None else self.metric.show(value)

    def show_repeats(self, row: Row) -> str:
        """Return mean and standard deviation over the fresh seeds."""
        return self.show(row.mean) + (f" ± {self.show(row.deviation)}" if row.deviation is not None else "")

    def overrides(self, row: Row) -> list[str]:
        """Return what `imclass train` needs to train a configuration."""
        shared = [f"{key}={value}" for key, value in self.stored["overrides"].items()]
        return [*self.stored["flags"], *shared, *(f"{key}={value}" for key, value in row.settings.items())]


def read_results(folder: Path, store: Store) -> Results:
    """Read what a sweep's folder and its store hold. Raises UserError if a sweep did not write the folder."""
    stored = read_stored(folder)
    space, metric = stored_space(stored["space"]), _metric(stored)
    found, repeated = store.states(store.search), store.trials(store.repeats)
    rows = [
        _row(folder, trial, state, space, [r for r in repeated if r.user_attrs["repeats"] == trial.number])
        for trial, state in found
    ]
    best = [trial.number for trial in ranked([trial for trial, _ in found], metric)]
    with_mean = {row.number for row in rows if row.mean is not None}
    by_mean = with_mean == set(best[: len(with_mean)])  # else a better one was found since, and has no mean

    def order(row: Row) -> tuple[int, float]:
        """Sort by the mean over fresh seeds, then by the search's own value, then by the last value."""
        if by_mean and row.mean is not None:
            return 0, metric.rank(row.mean)
        if row.number in best:
            return 1, best.index(row.number)
        return (2, metric.rank(row.value)) if row.value is not None else (3, row.number)

    failed = [trial for trial in (*(t for t, _ in found), *repeated) if state_of(trial) == "failed"]
    failures = [_failure(folder, trial) for trial in failed]
    return Results(folder, stored, space, tuple(sorted(rows, key=order)), tuple(failures), store.search)


def open_stored(folder: Path) -> Store:
    """Open the store of the sweep in a folder. Raises UserError where a sweep did not write it."""
    stored = read_stored(folder)
    storage = stored.get("storage") or JOURNAL
    return open_store(storage, stored["name"], _metric(stored), folder=folder, create=False)


def _metric(stored: Mapping[str, Any]) -> Metric:
    return METRICS[stored["metric"].removeprefix("val.")]


def _failure(folder: Path, trial: FrozenTrial) -> Failure:
    name = folder_of(trial)
    return Failure(name, _attempts(trial), trial.user_attrs["cause"], _log(folder, name, trial.user_attrs))


def _attempts(trial: FrozenTrial) -> int:
    return trial.user_attrs.get("failures", 0) + (state_of(trial) != "failed")


def _log(folder: Path, name: str, attributes: Mapping[str, Any]) -> str:
    """Return where the log of a trial is; with a database, that may be another machine."""
    here = place_of(folder)
    place = attributes.get("place", here)
    return f"{folder if place == here else place}/logs/{name}.log"


def _row(
    folder: Path,
    trial: FrozenTrial,
    state: str,
    space: Mapping[str, Parameter],
    repeats: Sequence[FrozenTrial],
) -> Row:
    attrs, values = trial.user_attrs, trial.intermediate_values
    done = [repeat for repeat in repeats if state_of(repeat) == "complete"]
    return Row(
        number=trial.number,
        folder=folder_of(trial),
        state=state,
        value=trial.value if state == "complete" else values[max(values)] if values else None,
        settings={key_of(s): s.partition("=")[2] for s in settings_of(trial.params, space)},
        seconds=attrs.get("seconds", 0.0),
        test=attrs.get("test"),
        attempts=_attempts(trial),
        cause=attrs["cause"] if state in ("failed", "diverged") else "",
        repeats=tuple(repeat.values[0] for repeat in done),
        repeats_test=tuple(repeat.user_attrs["test"]["accuracy"] for repeat in done),
        log=_log(folder, folder_of(trial), attrs),
        settings_of_run=attrs.get("settings"),
        curve=attrs.get("curve"),
    )


def csv_rows(results: Results) -> list[list[Any]]:
    """Return the rows of sweep.csv: one per configuration, in the order of the table."""
    metric = f"val_{results.metric.name}"
    head = ["trial", "state", metric, "test_accuracy", "seconds", "attempts", *results.space]
    spreads = ["seeds", f"{metric}_mean", f"{metric}_std", "test_accuracy_mean", "test_accuracy_std"]
    lines: list[list[Any]] = [[*head, *spreads, "cause", "log"]]
    for row in results.rows:
        tests = row.repeats_test
        spread = [statistics.fmean(tests) if tests else None, statistics.stdev(tests) if tests[1:] else None]
        begin = [row.number, row.state, row.value, (row.test or {}).get("accuracy"), round(row.seconds, 1)]
        settings = [row.settings.get(key) for key in results.space]
        seeds = [len(row.repeats) or None, row.mean, row.deviation, *spread]
        lines.append([*begin, row.attempts, *settings, *seeds, row.cause, row.log])
    return lines


def table(results: Results, file: Path, most: int = 25) -> str:
    """Return the table for the terminal: the best first, then failures with their causes and logs.

    file: the CSV file that has all rows.
    """
    keys = list(results.space)
    shorts = [key.rsplit(".", 1)[-1] for key in keys]
    names = [s if shorts.count(s) == 1 else key for s, key in zip(shorts, keys, strict=True)]
    lines = [["trial", "state", results.stored["metric"], "fresh seeds", "test", "seconds", *names]]
    for row in results.rows[:most]:
        repeats = f"{results.show_repeats(row)} ({len(row.repeats)})" if row.repeats else ""
        test = ACCURACY.show(row.test["accuracy"]) if row.test else ""
        begin = [str(row.number), row.state, results.show(row.value), repeats, test, f"{row.seconds:.0f}"]
        lines.append([*begin, *(row.settings.get(key, "") for key in keys)])
    used = [n for n in range(len(lines[0])) if any(line[n] for line in lines[1:])]
    widths = [max(width_of(line[n]) for line in lines) for n in used]
    shown = [in_columns([line[n] for n in used], widths, sys.stdout) for line in lines]
    if len(results.rows) > most:
        shown.append(f"and {len(results.rows) - most} more: see {file}")
    shown += [f"{failure.folder} failed: {failure.cause} ({failure.log})" for failure in results.failures]
    return "\n".join(shown)
