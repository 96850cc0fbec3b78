"""Write a report: one HTML file that opens offline.

imclass report RUN|SWEEP|FOLDER ... [--out FILE.html]
"""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from imclass.commands.arguments import Arguments
from imclass.config.run_names import is_run, is_sweep
from imclass.endings import say
from imclass.errors import PartialFailure, UserError, did_you_mean
from imclass.folding import folded
from imclass.machine.signals import cleaning_up

PLACES = (Path(), Path("outputs"), Path("outputs", "sweeps"))  # where a name is looked for


def report_command(argv: Sequence[str]) -> None:
    """Write report.html of one run, comparison.html and .csv of several, or the report of a sweep.

    Any other folder stands for the runs in it. Raises UserError if there are none, and PartialFailure after
    comparing the others if some of several cannot be read.
    """
    options = _parse(argv)
    if options.out is not None:
        _check_out(options.out)
    folders = [_find(name) for name in options.runs]
    if len(folders) == 1 and is_sweep(folders[0]):
        _report_sweep(folders[0], options.out)
        return
    runs = list({run.resolve(): run for folder in folders for run in _runs_in(folder)}.values())
    from imclass.reports.comparison import write_comparison_page
    from imclass.reports.comparison_lines import lines, read_runs
    from imclass.reports.run_page import write_run_page

    if len(runs) == 1:
        file = options.out or runs[0] / "report.html"
        with cleaning_up():
            lacking = write_run_page(runs[0], file)
        print(file)
        if lacking:
            command = f"imclass evaluate {shlex.quote(str(runs[0]))}"
            say(f"missing plots: {', '.join(lacking)}; to draw them: {command}")
        return
    file = options.out or _shared_folder(runs) / "comparison.html"
    records, problems = read_runs(runs)
    if not records:
        raise problems[-1]
    with cleaning_up():
        rows = write_comparison_page(records, file)
    print(folded("\n".join(lines(rows)), sys.stdout))
    print(f"{file} {file.with_suffix('.csv')}")
    if problems:
        raise PartialFailure("\n".join(f"left out: {problem}" for problem in problems))


def _report_sweep(folder: Path, out: Path | None) -> None:
    from imclass.sweeps import require_optuna

    require_optuna()
    from imclass.sweeps.page import summary, write_report
    from imclass.sweeps.results import open_stored
    from imclass.sweeps.store import database_errors_named

    page = out or folder / "sweep.html"
    with cleaning_up(), database_errors_named(str(folder)), closing(open_stored(folder)) as store:
        results = write_report(folder, page, store)
    print(folded(summary(results, page), sys.stdout))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Arguments(prog="imclass report", description="Write a report of one run or of many.")
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN|SWEEP|FOLDER",
        help="run folders, their names, folders of runs, or a sweep",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE.html",
        help="default: in the run, or beside the runs; of several runs, FILE.csv is written beside it",
    )
    return parser.parse_args(argv)


def _find(name: str) -> Path:
    """Return the run, sweep or folder of runs with this name."""
    folders = [place / name for place in PLACES]
    found = next((folder for folder in folders if is_sweep(folder) or _runs_in(folder)), None)
    if found is None:
        present = [path for place in PLACES[1:] for path in place.glob("*") if path.is_dir()]
        near = did_you_mean(name, (path.name for path in present if is_sweep(path) or _runs_in(path)))
        raise UserError(f"{name}: no run, and no folder with runs, here or in outputs/{near}")
    return found


def _runs_in(path: Path, *, nested: bool = True) -> list[Path]:
    """Return this run, or the runs in this folder and in those of multiruns below it; not those of sweeps."""
    if is_run(path):
        return [path]
    runs: list[Path] = []
    for folder in sorted(path.glob("*")):
        if is_run(folder):
            runs.append(folder)
        elif nested and folder.is_dir() and not is_sweep(folder):
            runs += _runs_in(folder, nested=False)
    return runs


def _shared_folder(runs: Sequence[Path]) -> Path:
    """Return the folder that contains all runs; the current one if there is none below /."""
    shared = Path(os.path.commonpath([run.absolute().parent for run in runs]))
    return shared if shared != Path(shared.anchor) else Path()


def _check_out(file: Path) -> None:
    if file.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out {file}: expected the name of a page, such as {file.stem or 'report'}.html")
    if file.is_dir():
        raise UserError(f"--out {file}: is a folder; expected a file")
    if not file.parent.is_dir():
        raise UserError(f"--out {file}: no such folder {file.parent}")
