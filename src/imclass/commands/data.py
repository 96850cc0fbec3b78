"""What is in a data set, and what is wrong with it.

imclass data inspect FOLDER|FILE.csv|NAME [--sheet OUT.png] [--write OUT.yaml] [--json]
imclass data verify FOLDER|FILE.csv|NAME [--root FOLDER] [--json]
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from imclass.commands.arguments import Arguments
from imclass.commands.data_argument import add_data, find_data, progress
from imclass.commands.inspect import inspect_command
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
    add_data(parser)
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
    path = find_data(data, root)
    from imclass.data.folder.verify import verify_folder
    from imclass.data.verify import verify_named

    return verify_named(data, root) if path is None else verify_folder(path, progress)


# Verb -> the function that runs it, its arguments, and what it does.
VERBS = {
    "inspect": (
        inspect_command,
        "FOLDER|FILE.csv|NAME [--sheet OUT.png] [--write OUT.yaml] [--json]",
        "show what is there, what to mend, and the command to begin with",
    ),
    "verify": (
        _verify,
        "FOLDER|FILE.csv|NAME [--root FOLDER] [--json]",
        "list every damaged, missing or non-image file",
    ),
}
