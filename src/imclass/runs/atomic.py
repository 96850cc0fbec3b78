"""Files that are replaced atomically: a reader finds the old or the new one, never a part."""

import contextlib
import csv
import io
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp-"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; the file there is renamed to `path` at the end of the block.

    After an exception it is removed. When several processes write the same file, the last one wins.
    """
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file's contents, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, text: str) -> None:
    """Replace a small text file; what is not Unicode, as in names of old files, is escaped."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Replace a CSV file; the first row is the header, None an empty field."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_atomically(path, text.getvalue())


def sweep_debris(folder: Path, name: str = "") -> None:
    """Remove the temporary files (of `name`) that killed processes left in `folder`."""
    for debris in folder.glob(f"{TEMPORARY}*"):
        if name in debris.name:
            debris.unlink(missing_ok=True)
