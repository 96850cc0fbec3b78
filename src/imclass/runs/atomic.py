"""Files that are replaced atomically: a reader finds the old or the new one, never a part."""

import contextlib
import csv
import errno
import io
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from imclass.errors import ImclassError, StorageError, UserError

TEMPORARY = ".tmp-"
TOO_LARGE = "raise this process's limit of file sizes (ulimit -f)"  # what the remedy of EFBIG usually is


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; the file there is renamed to `path` at the end of the block.

    After an exception it is removed; an OSError of writing it names `path`. When several processes write
    the same file, the last one wins.
    """
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        unnamed = error.filename in (None, str(temporary))  # a failed write names no file
        if unnamed and error.errno is not None:  # None: not the system's, as of a download
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):  # it was never made
            temporary.unlink()


def sync(path: Path) -> None:
    """Flush a file's contents, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, *parts: str | bytes | memoryview) -> None:
    """Replace a file by `parts`, one after the other; its contents are on the disk before its name is.

    What is not Unicode, as in names of old files, is escaped. Raises StorageError where the disk does not
    take it, UserError where a folder stands in its place; the old file is kept.
    """
    data = [p.encode("utf-8", "backslashreplace") if isinstance(p, str) else p for p in parts]
    try:
        with replacing(path) as temporary:
            with temporary.open("wb") as file:
                for part in data:
                    file.write(part)
            sync(temporary)
    except OSError as error:
        raise write_error(path, sum(map(len, data)), error) from error


def write_error(path: Path, needed: int, error: OSError, advice: str | None = None) -> ImclassError:
    """Return what to raise for a failed write: what is in the way, or the bytes needed and free.

    needed: the size of the whole file in bytes. advice: ends the message; None: the remedy.
    """
    if error.errno == errno.EISDIR:
        return UserError(f"{path}: expected a file, found a folder; move it away")
    if error.errno == errno.ENOTDIR:
        return UserError(f"{path.parent}: expected a folder, found a file; move it away")
    if error.errno == errno.ENOENT:
        return UserError(f"{path.parent}: no such folder")
    try:
        free = f"{shutil.disk_usage(path.parent).free:,} are free"
    except OSError:
        free = "the disk is gone"
    reason = error.strerror or str(error)
    remedy = TOO_LARGE if error.errno == errno.EFBIG else StorageError.remedy
    if advice is None:
        advice = f"; {remedy}, and repeat the command"
    failure = StorageError(f"{path}: cannot be written ({reason}): {needed:,} bytes needed, {free}{advice}")
    failure.strerror, failure.remedy = reason, remedy
    return failure


def write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Replace a CSV file; the first row is the header, None an empty field."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_atomically(path, text.getvalue())


def sweep_debris(folder: Path, name: str = "") -> None:
    """Remove the temporary files (of `name`) that killed processes left in `folder`."""
    for debris in folder.glob(f"{TEMPORARY}{'[0-9a-f]' * 8}-*"):
        if name in debris.name and not debris.is_dir():
            debris.unlink(missing_ok=True)
