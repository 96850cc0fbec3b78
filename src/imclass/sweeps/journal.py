"""Optuna's journal file, made so that a process killed while it writes leaves nothing to stumble over."""

import json
import os
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend

from imclass.runs.locks import locked


class Journal(JournalFileBackend):
    """The file of Optuna's own journal, with a lock that vanishes with its holder.

    A last line without an end was being written when its process died: it is cut off before the next one.
    """

    def __init__(self, file: Path):
        super().__init__(str(file))
        self._file = file
        self._lock_file = file.with_suffix(".lock")

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with locked(self._lock_file), self._file.open("r+b") as file:
            file.seek(_end_of_whole_lines(self._file))
            file.truncate()
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())


def _end_of_whole_lines(path: Path) -> int:
    """Return the position after the last line break of a file; 0 without any."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 1))
        return size if file.read() in (b"\n", b"") else path.read_bytes().rfind(b"\n") + 1
