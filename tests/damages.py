"""Ways to change a file of a run folder, each a function of the folder."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imclass.runs.checkpoint import load_checkpoint, write_checkpoint
from imclass.runs.tensorboard import event_files

Damage = Callable[[Path], None]


def events(run: Path) -> Path:
    (file,) = event_files(run)
    return file


def move_events(run: Path) -> None:
    """Leave the event file where earlier versions wrote it."""
    file = events(run)
    (run / "tensorboard").mkdir()
    file.rename(run / "tensorboard" / file.name)


def replace(name: str, old: str, new: str, count: int = 1) -> Damage:
    """Replace a text in a file by a regular expression; it must be there."""

    def damage(run: Path) -> None:
        text = (run / name).read_text()
        changed = re.sub(old, new, text, count=count)
        assert changed != text
        (run / name).write_text(changed)

    return damage


def flip(name: str) -> Damage:
    def damage(run: Path) -> None:
        file = run / name if "events" not in name else events(run)
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 4
        file.write_bytes(data)

    return damage


def half(name: str) -> Damage:
    return lambda run: os.truncate(run / name, (run / name).stat().st_size // 2)


def remove(name: str) -> Damage:
    return lambda run: (events(run) if "events" in name else run / name).unlink()


def edit(name: str, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Damage:
    """Write a checkpoint anew, header and state changed, with a right digest."""

    def damage(run: Path) -> None:
        header, content = load_checkpoint(run / "checkpoints" / name)
        change(header, content)
        write_checkpoint(run / "checkpoints" / name, content, header)

    return damage


def lines(change: Callable[[list[bytes]], list[bytes]]) -> Damage:
    def damage(run: Path) -> None:
        file = run / "metrics.jsonl"
        file.write_bytes(b"".join(change(file.read_bytes().splitlines(keepends=True))))

    return damage


def scalar_record(data: bytes) -> tuple[int, int]:
    """Return where the record of the first validation loss begins and ends."""
    end = 0
    while True:
        start, end = end, end + 16 + int.from_bytes(data[end : end + 8], "little")
        if b"val/loss" in data[start:end]:
            return start, end


def repeat_an_event(run: Path) -> None:
    """Append a copy of a record, which is whole."""
    data = events(run).read_bytes()
    start, end = scalar_record(data)
    events(run).write_bytes(data + data[start:end])


def drop_an_event(run: Path) -> None:
    """What is left are whole records."""
    data = events(run).read_bytes()
    start, end = scalar_record(data)
    events(run).write_bytes(data[:start] + data[end:])


def write(name: str, text: str) -> Damage:
    return lambda run: (run / name).write_text(text) and None


def folder(name: str) -> Damage:
    def damage(run: Path) -> None:
        file = events(run) if "events" in name else run / name
        file.unlink()
        file.mkdir()

    return damage
