"""What is wrong with a data set.

imclass data verify FOLDER|FILE.csv|NAME [--root FOLDER] [--json]
"""

import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imclass.commands.arguments import Arguments
from imclass.config.data_root import is_table
from imclass.config.groups import group_choices
from imclass.config.setting import show
from imclass.errors import UserError, counted, did_you_mean

if TYPE_CHECKING:
    from imclass.data.verify import Verified


def data_command(argv: Sequence[str]) -> None:
    """Run the verb that is named first. Raises UserError, and whatever the verb raises."""
    verb = argv[0] if argv else "--help"
    if verb in ("--help", "-h"):
        print(
            "\n".join(f"imclass data {name} {usage}\n    {line}" for name, (_, usage, line) in VERBS.items())
        )
    elif verb in VERBS:
        VERBS[verb][0](argv[1:])
    else:
        near = did_you_mean(verb, VERBS)
        raise UserError(f"data {verb}: no such verb; expected one of {', '.join(VERBS)}{near}")


def _verify(argv: Sequence[str]) -> None:
    """Print a line for everything that is wrong. Raises UserError with the count if there is anything."""
    parser = Arguments(
        prog="imclass data verify", description="Decode every image and verify every checksum."
    )
    parser.add_argument(
        "data",
        metavar="FOLDER|FILE.csv|NAME",
        help="a folder of class folders, a table of files and labels, or a data set's name",
    )
    parser.add_argument("--root", metavar="FOLDER", help="where NAME's files are; default: as in training")
    parser.add_argument("--json", action="store_true", help="print one object in place of the lines")
    options = parser.parse_args(argv)
    found = _verified(options.data, options.root)
    if options.json:
        print(json.dumps(dataclasses.asdict(found)), flush=True)
    else:
        for problem in found.problems:
            print(f"{show(problem.path)}: {problem.reason}")
        for remark in found.ignored:
            print(f"{show(remark.path)}: ignored: {remark.reason}")
        sys.stdout.flush()
    what = f"{counted(found.images, 'image')} in {counted(len(found.classes), 'class')}"
    ignored = f"; {len(found.ignored):,} ignored" if found.ignored else ""
    if found.problems:
        count = counted(len(found.problems), "problem")
        if found.root:  # files that were downloaded
            advice = "delete the damaged files to have them fetched again"
            raise UserError(f"{options.data} in {show(found.root)}: {count}; {advice}")
        raise UserError(f"{options.data}: {count}{f' in {what}' if found.images else ''}{ignored}")
    if not options.json:
        print(f"{options.data}: {what}, all whole{ignored}")


def _verified(data: str, root: str | None) -> "Verified":
    names = [name for name in group_choices("dataset") if name != "image_folder"]
    if data not in names and root is not None:
        raise UserError(f"--root {root}: goes with the name of a data set, not with {data}")
    path = Path(data).expanduser()
    if data not in names and not (path.is_dir() or (is_table(path) and path.is_file())):
        near = did_you_mean(data, names)
        raise UserError(f"{data}: no such folder or data set; data sets: {', '.join(names)}{near}")
    from imclass.data.folder.verify import verify_folder
    from imclass.data.verify import verify_named

    return verify_named(data, root) if data in names else verify_folder(path, _progress)


def _progress(items: Iterator[str], total: int) -> Iterable[str]:
    from tqdm import tqdm

    return tqdm(items, total=total, unit="image", leave=False, disable=not sys.stderr.isatty())


# Verb -> the function that runs it, its arguments, and what it does.
VERBS = {
    "verify": (
        _verify,
        "FOLDER|FILE.csv|NAME [--root FOLDER] [--json]",
        "list every damaged, missing or non-image file",
    )
}
