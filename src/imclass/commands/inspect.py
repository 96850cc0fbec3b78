"""What is in a data set, what to mend, and the settings to begin with.

imclass data inspect FOLDER|FILE.csv|NAME [--root FOLDER] [--sheet OUT.png] [--write OUT.yaml] [--json]
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imclass.commands.arguments import Arguments, require_new_file
from imclass.commands.data_argument import add_data, find_data, progress
from imclass.config.schema import DeviceConfig
from imclass.errors import UserError, counted
from imclass.folding import folded
from imclass.machine.signals import cleaning_up

if TYPE_CHECKING:
    from imclass.data.inspection.inspect import Facts, Inspection
    from imclass.data.inspection.suggestion import Suggestion

TIMED = ("augment", "dataset.centre", "train.batch_size", "train.epochs")  # what decides how long it takes


def inspect_command(argv: Sequence[str]) -> None:
    """Print what is known of a data set and the command to begin with. Raises UserError."""
    options = _parse(argv)
    require_new_file("--sheet", options.sheet, ".png")
    require_new_file("--write", options.write, ".yaml")
    path = find_data(options.data, options.root)
    from imclass.data.inspection.inspect import inspect_folder, inspect_named
    from imclass.data.inspection.lines import command, fact_lines, suggestion_lines

    if path is None:
        inspection = inspect_named(options.data, options.root, progress)
    else:
        inspection = inspect_folder(path, progress)
    facts = inspection.facts
    if not inspection.pictures:
        raise UserError(f"{options.data}: none of {counted(facts.images, 'image')} can be read")
    suggestion = _suggestion(options, path, facts)
    with cleaning_up():
        if options.json:
            found = {"data": options.data, **dataclasses.asdict(facts), "parts": facts.parts}
            suggested = {"command": command(suggestion), **dataclasses.asdict(suggestion)}
            print(json.dumps(found | {"suggestion": suggested}))
        else:
            lines = [*fact_lines(options.data, facts), *suggestion_lines(suggestion)]
            print(folded("\n".join(lines), sys.stdout), flush=True)
        if options.sheet:
            _write_sheet(inspection, options.sheet)
        if options.write:
            _write_experiment(options, facts, suggestion)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Arguments(
        prog="imclass data inspect",
        description="Look at every picture: what is there, what to mend, and the settings to begin with.",
    )
    add_data(parser)
    parser.add_argument("--sheet", type=Path, metavar="OUT.png", help="draw some pictures of each class")
    parser.add_argument("--write", type=Path, metavar="OUT.yaml", help="write the settings as an experiment")
    parser.add_argument("--json", action="store_true", help="print one object in place of the lines")
    return parser.parse_args(argv)


def _suggestion(options: argparse.Namespace, path: Path | None, facts: "Facts") -> "Suggestion":
    """Return the settings to begin with, and what they take on this machine."""
    from imclass.config.compose import compose_config
    from imclass.data.inspection.suggestion import suggest
    from imclass.machine.device import resolve_device
    from imclass.training.estimate import seconds_of_training

    device = resolve_device(DeviceConfig(), steps=1)
    kind = device.device.type
    suggestion = suggest(facts, options.data, path, options.root, gpu=kind != "cpu")
    timed = [f"{choice.key}={choice.value}" for choice in suggestion.choices if choice.key in TIMED]
    config = compose_config(timed, [], to_train=False)
    classes = max(len(facts.counts), 2)
    seconds = seconds_of_training(config, device, suggestion.shape, classes, suggestion.images)
    return dataclasses.replace(suggestion, device=kind, seconds=round(seconds, 1))


def _write_sheet(inspection: "Inspection", file: Path) -> None:
    from imclass.reports.contact_sheet import write_contact_sheet

    pictures = inspection.pictures
    write_contact_sheet([p.label for p in pictures], [p.name for p in pictures], inspection.read, file)
    print(f"sheet written to {file}", file=sys.stderr)


def _write_experiment(options: argparse.Namespace, facts: "Facts", suggestion: "Suggestion") -> None:
    from imclass.data.inspection.lines import experiment

    text = experiment(options.data, str(options.write), facts, suggestion)
    with options.write.open("x", encoding="utf-8") as file:
        file.write(text)
    print(f"written to {options.write}: imclass train experiment={options.write}", file=sys.stderr)
