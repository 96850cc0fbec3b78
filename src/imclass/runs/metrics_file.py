"""metrics.jsonl and metrics.csv."""

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path

from imclass.config.metric import METRICS
from imclass.runs.atomic import write_csv
from imclass.runs.log_file import LogFile, Warn
from imclass.runs.records import Record, is_point, parse_point, read_bytes


class MetricsFile:
    """metrics.jsonl, one object per point, and metrics.csv, one row per evaluation, made from it.

    size: of the part to go on from, in bytes; lines in it that cannot be read are left out. unwritten: lines
    that the last session could not write.
    """

    def __init__(
        self, path: Path, size: int, warn: Warn, *, unwritten: Iterable[bytes] = (), enabled: bool = True
    ):
        self.path, self._warn, self._warned = path, warn, False
        self.csv_failed = False  # the last time that it was written
        data = read_bytes(path)[:size] if enabled and path.is_file() else b""
        whole = whole_part(data)
        rest = [*data[whole:].splitlines(keepends=True), *unwritten]
        later = [line for line in rest if is_point(line)]
        self._file = LogFile(path if enabled else Path(os.devnull), warn, size=whole, unwritten=later)
        self.records: list[Record] = []  # every point so far, on the disk or not
        self._rows: list[Record] = []
        self._since: list[Record] = []  # the points since the last row
        for line in [*data[:whole].splitlines(), *later]:
            self._add(parse_point(line))

    def write(self, record: Record) -> None:
        safe = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        self._file.write(json.dumps(safe).encode() + b"\n")
        self._add(safe)

    @property
    def unwritten(self) -> list[bytes]:
        return self._file.unwritten

    def sync(self) -> int:
        """Flush the file to the disk; return its size in bytes."""
        return self._file.sync()

    def write_csv(self) -> Record | None:
        """Write the row of every evaluation; return the last one."""
        if not self._rows:
            return None
        file = self.path.with_suffix(".csv")
        try:
            write_csv(file, [self._rows[0], *(row.values() for row in self._rows)])
            self.csv_failed = False
        except OSError as error:
            self.csv_failed = True
            if not self._warned:
                self._warned = True
                self._warn(f"{file}: {error.strerror or error}; training goes on, and tries again")
        return self._rows[-1]

    def close(self) -> None:
        self._file.close()

    def _add(self, record: Record) -> None:
        self.records.append(record)
        self._since.append(record)
        if record["split"] == "val":
            self._rows += evaluation_rows(self._since)
            self._since = []


def evaluation_rows(records: Iterable[Record]) -> list[Record]:
    """Return one row per validation, with the means of the training points since the last."""
    rows: list[Record] = []
    train: list[Record] = []
    for record in records:
        if record["split"] == "train":
            train.append(record)
        elif record["split"] == "val":
            rows.append(_row(record, train))
            train = []
    return rows


def _row(val: Record, train: list[Record]) -> Record:
    images = sum(r["images"] for r in train)

    def mean(key: str) -> float | None:
        values = [(r.get(key), r["images"]) for r in train]
        if not images or any(v is None for v, _ in values):
            return None
        return sum(v * n for v, n in values) / images

    names = [name for name in val if name in METRICS]
    return {
        "step": val["step"],
        "epoch": val["epoch"],
        **{f"train_{name}": mean(name) for name in names},
        **{f"val_{name}": val[name] for name in names},
        "lr": train[-1].get("lr") if train else None,
    }


def whole_part(data: bytes) -> int:
    """Return how many bytes of `data`, the beginning of a metrics.jsonl, are whole lines that can be read."""
    position = 0
    for line in data.splitlines(keepends=True):
        if not is_point(line):
            break
        position += len(line)
    return position
