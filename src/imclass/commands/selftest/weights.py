"""Damage to every file of weights: noticed by whatever reads it, so that wrong weights are never used."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from imclass.commands.selftest.damage import BITS
from imclass.commands.selftest.trial import Bench, Lost, Trial
from imclass.errors import UserError

FILES = ("checkpoints/last.pt", "checkpoints/previous.pt", "checkpoints/best.pt", "best.safetensors")
SHARES = {"flip": 1.0, "truncate": 0.2, "hole": 0.1}  # of the number of kills, for each file
ROWS = {"flip": "bit flips", "truncate": "truncations", "hole": "holes"}


def trials(bench: Bench) -> Iterator[Trial]:
    """Yield flips, truncations and holes in copies of the four files, each at a place of its own."""
    whole = bench.whole()
    for file in FILES:
        for kind, part in SHARES.items():
            for number in range(bench.share(part)):
                name = f"{kind} {number} in {file}"
                run = partial(_read_damaged, whole / file, kind, bench.seed, name)
                yield Trial(f"{ROWS[kind]} in files of weights", name, run)


def _read_damaged(original: Path, kind: str, seed: int, name: str, folder: Path) -> None:
    """Damage a copy, and read it in every way there is: an error of one line."""
    dice = Bench(folder, 1, seed).dice(name)
    copy = Path(shutil.copy(original, folder / original.name))
    while copy.read_bytes() == original.read_bytes():  # a hole may fall where there are zeros
        BITS[kind](copy, dice)
    for read in _readers(original):
        _require_error(read, copy)


def _readers(file: Path) -> list[Any]:
    from imclass.runs.checkpoint import read_checkpoint, read_model_weights

    return [read_model_weights] if file.suffix == ".safetensors" else [read_checkpoint, read_model_weights]


def _require_error(read: Any, copy: Path) -> None:
    try:
        read(copy)
    except UserError as error:
        if len(str(error).splitlines()) != 1 or copy.name not in str(error):
            raise Lost(f"a message that does not name the file in one line: {error}") from error
    else:
        raise Lost(f"{read.__name__} noticed nothing")
