"""Ways in which a file is damaged."""

import os
import random
from collections.abc import Callable
from pathlib import Path

HOLE = 512  # bytes: a sector


def flip(file: Path, dice: random.Random) -> None:
    """Flip one bit."""
    data = bytearray(file.read_bytes())
    if data:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    file.write_bytes(data)


def truncate(file: Path, dice: random.Random) -> None:
    """Keep a part, or nothing."""
    os.truncate(file, dice.randrange(max(1, file.stat().st_size)))


def hole(file: Path, dice: random.Random) -> None:
    """Set a sector, or all of a smaller file, to zeros: what a lost write leaves."""
    data = bytearray(file.read_bytes())
    start = dice.randrange(max(1, len(data) - HOLE))
    data[start : start + HOLE] = bytes(len(data[start : start + HOLE]))
    file.write_bytes(data)


def empty(file: Path, dice: random.Random) -> None:
    """Keep nothing."""
    file.write_bytes(b"")


def other(file: Path, dice: random.Random) -> None:
    """Put there what may have been meant for another program."""
    contents = (
        b"[1]\n",
        b"3\n",
        b"null\n",
        b'{"status": "finished"}\n',
        b'{"step": "many"}\n',
        os.urandom(64),
    )
    file.write_bytes(dice.choice(contents))


def folder(file: Path, dice: random.Random) -> None:
    """Put a folder there."""
    file.unlink()
    file.mkdir()


def fifo(file: Path, dice: random.Random) -> None:
    """Put there what blocks whoever opens it."""
    file.unlink()
    os.mkfifo(file)


def remove(file: Path, dice: random.Random) -> None:
    """Remove it."""
    file.unlink()


Damage = Callable[[Path, random.Random], None]
BITS: dict[str, Damage] = {"flip": flip, "truncate": truncate, "hole": hole}
EDITS: dict[str, Damage] = {
    **BITS,
    "empty": empty,
    "other": other,
    "folder": folder,
    "fifo": fifo,
    "remove": remove,
}
