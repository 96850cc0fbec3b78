"""Write a report that needs nothing but a browser.

imclass report RUN|SWEEP|FOLDER ... [--out FILE.html]
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from imclass.arguments import Arguments
from imclass.errors import UserError


def report_command(argv: Sequence[str]) -> None:
    """Write report.html of one run, or comparison.html and comparison.csv of several, best first.

    A folder that is no run itself stands for the runs in it; of a sweep, its page, table and best
    configuration are written again. Raises UserError when there are none.
    """
    options = _parse(argv)
    if (sweep := _sweep(options.runs)) is not None:
        _report_sweep(sweep, options.out)
        return
    runs = list({run.resolve(): run for argument in options.runs for run in _runs(argument)}.values())
    from imclass.pages import write_comparison_page, write_run_page
    from imclass.records import read_run

    if len(runs) == 1:
        file = options.out or runs[0] / "report.html"
        _require_folder(file)
        write_run_page(runs[0], file)
        print(file)
        return
    file = options.out or _shared_folder(runs) / "comparison.html"
    _require_folder(file)
    rows = write_comparison_page([read_run(run) for run in runs], file)
    for row in (row for row in rows if row.finished):
        deviation = row.deviation("test_accuracy")
        spread = "" if deviation is None else f" ± {100 * deviation:.2f}"
        print(
            f"validation {row.mean('val_accuracy'):.2%}  test {row.mean('test_accuracy'):.2%}{spread}  "
            f"{', '.join(run.name for run in row.runs)}" + (f": {row.label}" if row.label else "")
        )
    unfinished = sum(len(row.runs) for row in rows if not row.finished)
    if unfinished:
        print(f"{unfinished} runs did not finish: see the page")
    print(f"{file} {file.with_suffix('.csv')}")


def _sweep(arguments: Sequence[str]) -> Path | None:
    """Return the folder of the one sweep that the arguments name; None if they name runs."""
    for place in (Path(), Path("outputs"), Path("outputs", "sweeps")):
        if len(arguments) == 1 and (place / arguments[0] / "sweep.yaml").is_file():
            return place / arguments[0]
    return None


def _report_sweep(folder: Path, out: Path | None) -> None:
    from imclass.sweep import require_optuna

    require_optuna()
    from imclass.sweeps.best import places
    from imclass.sweeps.page import write_report
    from imclass.sweeps.results import table

    if out is not None:
        _require_folder(out)
    results = write_report(folder, out)
    print(f"{table(results)}\n{places(results, out)}")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Arguments(prog="imclass report", description="Write a report of one run or of many.")
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN|SWEEP|FOLDER",
        help="run folders, their names, folders of runs, or a sweep",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE.html", help="default: in the run, or beside the runs"
    )
    return parser.parse_args(argv)


def _runs(argument: str) -> list[Path]:
    from imclass.records import is_run

    for path in (Path(argument), Path("outputs") / argument):
        if is_run(path):
            return [path]
        inside = sorted(folder for folder in path.glob("*") if is_run(folder))
        if inside:
            return inside
    raise UserError(f"{argument}: no run, and no folder with runs, here or in outputs/")


def _shared_folder(runs: Sequence[Path]) -> Path:
    """Return the folder that all runs lie in; the current one where they share none."""
    shared = Path(os.path.commonpath([run.absolute().parent for run in runs]))
    return shared if shared != Path(shared.anchor) else Path()


def _require_folder(file: Path) -> None:
    if file.is_dir():
        raise UserError(f"--out {file}: is a folder; name a file in it")
    if not file.parent.is_dir():
        raise UserError(f"--out {file}: no such folder {file.parent}; make it first")
