"""The argument that names a data set, of `imclass data ...`: a folder, a table, or a name."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from imclass.config.data_root import is_table, near_path, problem_of_runs
from imclass.config.groups import group_choices
from imclass.config.run_names import user_path
from imclass.errors import UserError, did_you_mean

Item = TypeVar("Item")


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the data set and --root."""
    parser.add_argument(
        "data",
        metavar="FOLDER|FILE.csv|NAME",
        help="a folder of class folders, a table of files and labels, or a data set's name",
    )
    parser.add_argument("--root", metavar="FOLDER", help="where NAME's files are; default: as in training")


def find_data(data: str, root: str | None) -> Path | None:
    """Return the path of a folder or a table, None for the name of a data set.

    Raises UserError for what is neither, for a folder of runs, and for a `root` beside a path.
    """
    names = [name for name in group_choices("dataset") if name != "image_folder"]
    if data in names:
        return None
    if root is not None:
        raise UserError(f"--root {root}: goes with the name of a data set, not with {data}")
    path = user_path(data)
    if not (path.is_dir() or (is_table(path) and path.is_file())):
        near = did_you_mean(data, names) or near_path(data)
        raise UserError(f"{data}: no such folder or data set; data sets: {', '.join(names)}{near}")
    if path.is_dir() and (problem := problem_of_runs(path)):
        raise UserError(f"{data}: {problem}")
    return path


def progress(items: Iterator[Item], total: int) -> Iterable[Item]:
    """Show on a terminal how many images have been looked at."""
    from tqdm import tqdm

    bar: Iterable[Item] = tqdm(items, total=total, unit="image", leave=False, disable=not sys.stderr.isatty())
    return bar
