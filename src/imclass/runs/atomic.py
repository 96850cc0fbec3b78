"""Files that are replaced as a whole: a reader finds the old or the new one, never a part."""

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

TEMPORARY = ".tmp-"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the place to write to; what is there at the end of the block becomes `path`.

    Several processes, on several machines, may write the same file: the last one wins.
    """
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a small text file as a whole; what is no Unicode, as in names of old files, is escaped."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def sweep_debris(folder: Path) -> None:
    """Remove what a process that was killed while it wrote left in `folder`."""
    for debris in folder.glob(f"{TEMPORARY}*"):
        debris.unlink(missing_ok=True)
