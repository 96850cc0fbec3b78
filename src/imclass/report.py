"""Write a report that needs nothing but a browser.

imclass report RUN|FOLDER ... [--out FILE.html]
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from imclass.arguments import Arguments
from imclass.errors import UserError


def report_command(argv: Sequence[str]) -> None:
    """Write report.html of one run, or comparison.html and comparison.csv of several, best first.

    A folder that is no run itself stands for the runs in it. Raises UserError when there are none.
    """
    options = _parse(argv)
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


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Arguments(prog="imclass report", description="Write a report of one run or of many.")
    parser.add_argument(
        "runs", nargs="+", metavar="RUN|FOLDER", help="run folders, their names, or folders of runs"
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
