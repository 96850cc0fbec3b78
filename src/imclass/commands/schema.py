"""JSON Schemas of the YAML files, for editors.

imclass schema [experiment|train|sweep|model|...] [--write FOLDER]
"""

import json
from collections.abc import Sequence
from pathlib import Path

from imclass.commands.arguments import Arguments
from imclass.config.json_schema import KINDS, schema_of


def schema_command(argv: Sequence[str]) -> None:
    """Print the JSON Schema of one kind of YAML file, or write those of all kinds into a folder."""
    parser = Arguments(
        prog="imclass schema",
        description="Print the JSON Schema of a kind of YAML file. An editor with a YAML language server "
        "completes and checks a file that begins with the comment "
        "# yaml-language-server: $schema=FOLDER/experiment.json",
    )
    parser.add_argument(
        "kind",
        nargs="?",
        default="experiment",
        choices=KINDS,
        help="train.yaml, or the choices of a group; default: experiment",
    )
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write FOLDER/<kind>.json for each kind")
    options = parser.parse_args(argv)
    if options.write is None:
        print(schema_text(options.kind), end="")
        return
    options.write.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        (options.write / f"{kind}.json").write_text(schema_text(kind), encoding="utf-8")
    print(f"written to {options.write}: {', '.join(f'{kind}.json' for kind in KINDS)}")


def schema_text(kind: str) -> str:
    """Return the schema as it is printed and written."""
    return json.dumps(schema_of(kind), indent=1, ensure_ascii=False) + "\n"
