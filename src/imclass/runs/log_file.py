"""A file that records are appended to: what the disk does not take waits in memory, and training goes on."""

import contextlib
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from imclass.errors import UserError
from imclass.runs.atomic import sync

Warn = Callable[[str], None]


class Retried:
    """Turns the OSErrors of writing a file into one warning, as the write is retried.

    failed: whether the last write did.
    """

    def __init__(self, path: Path, warn: Warn):
        self._path, self._warn = path, warn
        self.failed = self._warned = False

    @contextlib.contextmanager
    def write(self) -> Iterator[None]:
        try:
            yield
            self.failed = False
        except OSError as error:
            self.failed = True
            if not self._warned:
                self._warned = True
                self._warn(
                    f"{self._path}: {error.strerror or error}; training continues; the write is retried"
                )


class LogFile:
    """An append-only file of whole records.

    A record that cannot be written (disk full, I/O error) is warned about once, is cut off where half of it
    was written, and is tried again, in order, with the next one. So once there is room the file is complete.

    warn: called with the text of the warning. size: in bytes, what lies behind is cut off; None keeps all.
    unwritten: records that an earlier session could not write. Raises UserError where the path is a folder, a
    FIFO or a link.
    """

    def __init__(self, path: Path, warn: Warn, *, size: int | None = None, unwritten: Iterable[bytes] = ()):
        require_writable(path)
        self.path, self._retried = path, Retried(path, warn)
        self.size = size if size is not None else path.stat().st_size if path.exists() else 0
        self._descriptor: int | None = None
        self._torn = True  # until the file is known to end at `size`
        self._waiting = deque(unwritten)

    @property
    def unwritten(self) -> list[bytes]:
        """The records that the disk has not taken yet."""
        return list(self._waiting)

    def write(self, record: bytes) -> None:
        """Append a record, after those that wait."""
        self._waiting.append(record)
        self._write_waiting()

    def sync(self) -> int:
        """Flush the file to the disk; return its size in bytes."""
        self._write_waiting()
        if self._is_regular():
            with self._retried.write():
                os.fsync(self._descriptor)  # type: ignore[arg-type]
        return self.size

    def close(self) -> None:
        self._write_waiting()
        if self._descriptor is not None:
            with self._retried.write():
                os.close(self._descriptor)
            self._descriptor = None

    def _write_waiting(self) -> None:
        with self._retried.write():
            if self._descriptor is None:
                self._open()
            while self._waiting:
                self._append(self._waiting[0])
                self._waiting.popleft()

    def _open(self) -> None:
        new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._cut()
        if new:
            sync(self.path.parent)

    def _append(self, record: bytes) -> None:
        assert self._descriptor is not None
        if self._torn:
            self._cut()
        self._torn = True
        rest = memoryview(record)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self.size += len(record)
        self._torn = False

    def _cut(self) -> None:
        """Cut off what lies behind the last whole record."""
        if self._is_regular():
            assert self._descriptor is not None
            self.size = min(self.size, os.fstat(self._descriptor).st_size)
            os.ftruncate(self._descriptor, self.size)
        self._torn = False

    def _is_regular(self) -> bool:
        """Return False for a file that is not open, and for a device, which has no size."""
        return self._descriptor is not None and stat.S_ISREG(os.fstat(self._descriptor).st_mode)


def require_writable(path: Path) -> None:
    """Raise UserError unless a log can be at `path`: a regular file, a device, or nothing yet.

    Opening a FIFO would wait for its reader; a link could lead to any file of the user's.
    """
    if not os.path.lexists(path):
        return
    kind = path.lstat().st_mode
    if stat.S_ISLNK(kind) and not path.is_char_device():
        raise UserError(f"{path}: is a link; expected a file that imclass writes: move it away")
    if not stat.S_ISREG(kind) and not path.is_char_device():
        what = "a folder" if stat.S_ISDIR(kind) else "no regular file"
        raise UserError(f"{path}: is {what}; expected a file that imclass writes: move it away")
