"""metrics.jsonl and metrics.csv."""

import json
import math
import os
from pathlib import Path

from imclass.runs.atomic import write_csv
from imclass.runs.records import Record, evaluation_rows, parse_point, read_metrics


class MetricsFile:
    """metrics.jsonl, one object per point, and metrics.csv, one row per evaluation, made from it."""

    def __init__(self, path: Path, size: int, *, enabled: bool = True):
        self.path = path
        self._file = (path if enabled else Path(os.devnull)).open("ab")
        if enabled:
            self._file.truncate(min(size, path.stat().st_size))

    def write(self, record: Record) -> None:
        safe = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        self._file.write(json.dumps(safe).encode() + b"\n")
        self._file.flush()

    def size(self) -> int:
        """Return the size in bytes, all of it on the disk."""
        os.fsync(self._file.fileno())
        return self.path.stat().st_size

    def write_csv(self) -> Record:
        """Write the row of every evaluation; return the last one."""
        rows = evaluation_rows(read_metrics(self.path))
        write_csv(self.path.with_suffix(".csv"), [rows[0], *(row.values() for row in rows)])
        return rows[-1]

    def close(self) -> None:
        self._file.close()


def whole_part(data: bytes) -> int:
    """Return how many bytes of `data`, the beginning of a metrics.jsonl, are whole lines that can be read."""
    position = 0
    for line in data.splitlines(keepends=True):
        try:
            parse_point(line)
        except ValueError:
            break
        if not line.endswith(b"\n"):
            break
        position += len(line)
    return position
