"""Logs that are shorter than the checkpoint records, as after a power cut: noticed, and made whole again."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from imclass.commands.selftest.trainings import finish, overrides
from imclass.commands.selftest.trial import (
    Bench,
    Trial,
    copy_of,
    require_said,
    require_same,
    require_same_weights,
)
from imclass.runs.tensorboard import event_files


def trials(bench: Bench) -> Iterator[Trial]:
    """Yield cuts behind last.pt, which cost steps only, and behind previous.pt as well, which cost points."""
    dice, whole, killed = bench.dice("logs"), bench.whole(), bench.killed()
    for number in range(bench.share(1 / 5)):
        file, older = ("metrics.jsonl", "event file")[number % 2], number % 4 >= 2
        part = dice.random()
        where = "both checkpoints" if older else "last.pt"
        name = f"{file} at {part:.0%} behind {where}, number {number}"
        run = partial(_cut, file, part, older, number % 3 == 0, killed, whole)
        yield Trial("logs cut behind a checkpoint", name, run)


def _cut(file: str, part: float, older: bool, zeros: bool, killed: Path, whole: Path, folder: Path) -> None:
    copy = copy_of(killed, folder)
    path = copy / file if file == "metrics.jsonl" else event_files(copy)[0]
    last, previous = (_recorded(copy / "checkpoints" / name, path) for name in ("last.pt", "previous.pt"))
    low, high = (0, previous) if older else (previous, last)
    size = low + int(part * (high - low))
    os.truncate(path, size)
    if zeros:  # the length was written, the content was not
        os.truncate(path, last)
    log = finish(overrides("killed"), folder=folder)
    require_said(path.name, log, copy)
    if older:
        require_same_weights(copy, whole)
    else:
        require_same(copy, whole)


def _recorded(checkpoint: Path, path: Path) -> int:
    """Return how long a log was when a checkpoint was written, in bytes."""
    from imclass.runs.checkpoint import read_checkpoint

    recorded: Any = read_checkpoint(checkpoint)["logger"]
    size = recorded["metrics"] if path.name == "metrics.jsonl" else recorded["events"][path.name]
    return int(size)
