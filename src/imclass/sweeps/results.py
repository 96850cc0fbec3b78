"""What a sweep has found, read back from its folder: one row per configuration."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from imclass.config.overrides import key_of
from imclass.runs.atomic import write_atomically
from imclass.sweeps.space import Parameter, settings_of, stored_space
from imclass.sweeps.stored import read_stored
from imclass.sweeps.study import (
    REPEATS,
    SEARCH,
    Configuration,
    configurations,
    folder_of,
    open_study,
    ranked,
    with_states,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration: how its trial ended, and its figures on fresh seeds if there are any."""

    number: int
    folder: str  # below the sweep's
    state: str  # complete, pruned, diverged, failed, running, interrupted
    value: float | None  # the metric, of a trial that ran to its end
    last_value: float | None  # the metric when it was last evaluated
    params: Mapping[str, Any]  # as Optuna has them
    settings: Mapping[str, str]  # as the user types them
    seconds: float
    test: Mapping[str, float] | None  # loss, accuracy
    attempts: int
    cause: str  # of a failure or divergence
    repeats: tuple[float, ...]  # the metric on each fresh seed
    repeats_test: tuple[float, ...]  # test accuracy on each

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
    log: Path


@dataclass(frozen=True, slots=True)
class Results:
    """A sweep, read back."""

    folder: Path
    stored: Mapping[str, Any]  # sweep.yaml
    space: Mapping[str, Parameter]
    rows: tuple[Row, ...]  # those that ran to their end first, the best first
    failures: tuple[Failure, ...]
    study: optuna.Study

    @property
    def metric(self) -> str:
        return str(self.stored["metric"])

    @property
    def best(self) -> Row | None:
        return self.rows[0] if self.rows and self.rows[0].value is not None else None

    def count(self, state: str) -> int:
        return sum(row.state == state for row in self.rows)

    def show(self, value: float) -> str:
        """Return a value of the metric as people read it."""
        return f"{100 * value:.2f} %" if self.metric == "val.accuracy" else f"{value:.4f}"

    def overrides(self, row: Row) -> list[str]:
        """Return what `imclass train` needs to train a configuration."""
        shared = [f"{key}={value}" for key, value in self.stored["overrides"].items()]
        drawn = [f"{key}={value}" for key, value in row.settings.items()]
        return [*self.stored["flags"], *shared, *drawn]

    def log(self, row: Row) -> Path:
        return self.folder / "logs" / f"{row.folder}.log"


def read_results(folder: Path) -> Results:
    """Read a sweep's folder. Raises UserError when it is not what a sweep writes."""
    stored = read_stored(folder)
    space, metric = stored_space(stored["space"]), stored["metric"]
    search, repeats = (open_study(folder, kind, metric) for kind in (SEARCH, REPEATS))
    found, again = with_states(folder, search), configurations(repeats)
    best = [c.number for c in ranked([c for c, _ in found], metric)]
    rows = [
        _row(c, state, space, [r for r in again if r.last.user_attrs["repeats"] == c.number])
        for c, state in found
    ]
    sign = -1.0 if metric == "val.accuracy" else 1.0
    repeated = {row.number for row in rows if row.mean is not None}
    by_mean = repeated == set(best[: len(repeated)])  # else a better one was found since, and has no mean

    def order(row: Row) -> tuple[int, float]:
        """Sort by the mean over fresh seeds, then by the value of the search, then by the last value."""
        if by_mean and row.mean is not None:
            return 0, sign * row.mean
        if row.number in best:
            return 1, best.index(row.number)
        return (2, sign * row.last_value) if row.last_value is not None else (3, row.number)

    tried = [*(configuration for configuration, _ in found), *again]
    failures = [_failure(folder, configuration) for configuration in tried if configuration.state == "failed"]
    return Results(folder, stored, space, tuple(sorted(rows, key=order)), tuple(failures), search)


def _failure(folder: Path, found: Configuration) -> Failure:
    name, cause = folder_of(found), found.last.user_attrs.get("cause", "")
    return Failure(name, len(found.attempts), cause, folder / "logs" / f"{name}.log")


def _row(
    found: Configuration, state: str, space: Mapping[str, Parameter], repeats: Sequence[Configuration]
) -> Row:
    last, attrs = found.last, found.last.user_attrs
    texts = settings_of(last.params, space)
    done = [r for r in repeats if r.value is not None]
    values = last.intermediate_values
    return Row(
        number=found.number,
        folder=folder_of(found),
        state=state,
        value=found.value,
        last_value=values[max(values)] if values else None,
        params=last.params,
        settings={key_of(text): text.partition("=")[2] for text in texts},
        seconds=attrs.get("seconds", 0.0),
        test=attrs.get("test"),
        attempts=len(found.attempts),
        cause=attrs.get("cause", ""),
        repeats=tuple(float(r.value or 0) for r in done),
        repeats_test=tuple(r.last.user_attrs["test"]["accuracy"] for r in done),
    )


def write_csv(results: Results, file: Path) -> None:
    """Write one row per configuration, in the order of the table."""
    metric = results.metric.replace(".", "_")
    head = ["trial", "state", metric, "test_accuracy", "seconds", "attempts", *results.space]
    spreads = ["seeds", f"{metric}_mean", f"{metric}_std", "test_accuracy_mean", "test_accuracy_std"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*head, *spreads, "cause", "log"])
    for row in results.rows:
        figures = [row.value if row.value is not None else row.last_value, (row.test or {}).get("accuracy")]
        settings = [row.settings.get(key) for key in results.space]
        tests = row.repeats_test
        spread = [statistics.fmean(tests) if tests else None, statistics.stdev(tests) if tests[1:] else None]
        seeds = [len(row.repeats) or None, row.mean, row.deviation, *spread]
        begin = [row.number, row.state, *figures, round(row.seconds, 1), row.attempts]
        writer.writerow([*begin, *settings, *seeds, row.cause, results.log(row)])
    write_atomically(file, text.getvalue())


def table(results: Results, file: Path, most: int = 25) -> str:
    """Return the table for the terminal: the best first, failures with their causes and logs.

    file: the CSV file that has all rows.
    """
    keys = list(results.space)
    shorts = [key.rsplit(".", 1)[-1] for key in keys]
    names = [s if shorts.count(s) == 1 else key for s, key in zip(shorts, keys, strict=True)]
    lines = [["trial", "state", results.metric, "fresh seeds", "test", "seconds", *names]]
    for row in results.rows[:most]:
        value = row.value if row.value is not None else row.last_value
        lines.append(
            [str(row.number), row.state, "" if value is None else results.show(value), _spread(results, row)]
            + [f"{100 * row.test['accuracy']:.2f} %" if row.test else "", f"{row.seconds:.0f}"]
            + [row.settings.get(key, "") for key in keys]
        )
    used = [n for n in range(len(lines[0])) if any(line[n] for line in lines[1:])]
    widths = {n: max(len(line[n]) for line in lines) for n in used}
    shown = ["  ".join(line[n].ljust(widths[n]) for n in used).rstrip() for line in lines]
    if len(results.rows) > most:
        shown.append(f"and {len(results.rows) - most} more: see {file}")
    shown += [f"{failure.folder} failed: {failure.cause} ({failure.log})" for failure in results.failures]
    return "\n".join(shown)


def _spread(results: Results, row: Row) -> str:
    if row.mean is None:
        return ""
    deviation = "" if row.deviation is None else f" ± {results.show(row.deviation)}"
    return f"{results.show(row.mean)}{deviation} ({len(row.repeats)})"
