"""The lock of Optuna's journal: gone with its holder, and it mends what a killed writer left behind."""

import contextlib
import os
from pathlib import Path

from optuna.storages.journal import JournalFileOpenLock

from imclass.runs.locks import locked


class JournalLock(JournalFileOpenLock):
    """A lock of the operating system, in place of a file that outlives a killed holder by 30 s."""

    def __init__(self, journal: Path):
        super().__init__(str(journal))
        self._journal, self._held = journal, contextlib.ExitStack()

    def acquire(self) -> bool:
        """Wait for the lock, and cut off a last line without an end: its writer died, and nobody read it."""
        self._held.enter_context(locked(self._journal.with_suffix(".lock")))
        with self._journal.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            if file.read() not in (b"\n", b""):
                file.truncate(self._journal.read_bytes().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self._held.close()
