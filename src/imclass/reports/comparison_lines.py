"""The figures of several runs on a terminal: of each configuration, mean and spread over seeds or folds."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from imclass.config.setting import show
from imclass.endings import say
from imclass.errors import UserError, counted
from imclass.folding import folded
from imclass.reports.comparison import Row, compare
from imclass.runs.records import RunRecord, read_run


def print_comparison(runs: Sequence[Path], *, named: bool) -> None:
    """Print the lines of the runs of a multirun that finished, and the command that draws them.

    named: whether they lie in a folder of their own. A run whose records are damaged costs a warning.
    """
    records, problems = read_runs(runs)
    for problem in problems:
        say(f"warning: left out: {problem}")
    if not records:
        return
    shown = [runs[0].parent] if named else runs
    command = f"imclass report {shlex.join(map(str, shown))}"
    print(folded("\n".join(["", *lines(compare(records)), f"more: {command}"]), sys.stdout))


def read_runs(runs: Sequence[Path]) -> tuple[list[RunRecord], list[UserError]]:
    """Return the records of the runs that can be read, and the problems of the others. Warn of edits."""
    records: list[RunRecord] = []
    problems: list[UserError] = []
    for run in runs:
        try:
            records.append(read_run(run))
        except UserError as error:
            problems.append(error)
    for warning in filter(None, (record.edited for record in records)):
        say(f"warning: {warning}")
    return records, problems


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the figures of each configuration, below a line for the data that it is ranked on."""
    data = ""
    for row in (row for row in rows if row.finished):
        if row.data != data:
            data = row.data
            yield f"{data}; best validation {row.metric.brief} first"
        figures = f"validation {_shown(row, 'val')}  test {_shown(row, 'test')}"
        names = ", ".join(map(show, row.names))
        yield f"{figures}  {names}" + (f": {row.label}" if row.label else "")
    if unfinished := sum(len(row.runs) for row in rows if not row.finished):
        yield f"{counted(unfinished, 'run')} did not finish"


def _shown(row: Row, split: str) -> str:
    """Return the figures of a split, with their spread; an accuracy that stands alone needs no name."""
    named = [f"{metric.brief} {row.shown(split, metric)}" for metric in row.metrics]
    text = ", ".join(named) if len(named) > 1 else row.shown(split, row.metric)
    return text.replace(" %", "%")
