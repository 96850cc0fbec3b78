"""metrics.jsonl and metrics.csv."""

import itertools
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from imclass.config.metric import METRICS
from imclass.runs.atomic import write_csv
from imclass.runs.log_file import LogFile, Retried, Warn
from imclass.runs.records import MAX_LINE, Record, parse_point
from imclass.runs.regular import open_regular


class MetricsFile:
    """metrics.jsonl, one object per point, and metrics.csv, one row per evaluation, made from it.

    size: of the part to go on from, in bytes; lines in it that cannot be read are left out. unwritten: lines
    that the last session could not write.
    """

    def __init__(
        self, path: Path, size: int, warn: Warn, *, unwritten: Iterable[bytes] = (), enabled: bool = True
    ):
        self.path, self._csv = path, Retried(path.with_suffix(".csv"), warn)
        points, whole, later = read_points(path if enabled else None, size, unwritten)
        self._file = LogFile(path if enabled else Path(os.devnull), warn, size=whole, unwritten=later)
        self._enabled, self._written = enabled, 0  # rows that metrics.csv has
        self.records: list[Record] = []  # every point so far, on the disk or not
        self._rows: list[Record] = []
        self._since: list[Record] = []  # the points since the last row
        for point in points:
            self._add(point)

    def write(self, record: Record) -> None:
        safe = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        self._file.write(json.dumps(safe).encode() + b"\n")
        self._add(safe)

    @property
    def csv_failed(self) -> bool:
        """Whether metrics.csv could not be written the last time."""
        return self._csv.failed

    @property
    def unwritten(self) -> list[bytes]:
        return self._file.unwritten

    def sync(self) -> int:
        """Flush the file to the disk, and write metrics.csv; return the size of the former in bytes."""
        self._write_rows()
        return self._file.sync()

    @property
    def last_row(self) -> Record | None:
        """The row of the latest evaluation."""
        return self._rows[-1] if self._rows else None

    def _write_rows(self) -> None:
        """Write metrics.csv if it lacks rows; not at every evaluation, as it is written whole."""
        if self._enabled and self._written != len(self._rows):
            with self._csv.write():
                write_csv(self.path.with_suffix(".csv"), csv_table(self._rows))
                self._written = len(self._rows)

    def close(self) -> None:
        self._write_rows()
        self._file.close()

    def _add(self, record: Record) -> None:
        self.records.append(record)
        self._since.append(record)
        if record["split"] == "val":
            self._rows += evaluation_rows(self._since)
            self._since = []


def csv_table(rows: Sequence[Record]) -> list[list[Any]]:
    """Return a header and the values below it; a field that a row lacks, of an older run, is None."""
    header = max(rows, key=len, default={})
    return [list(header), *([row.get(name) for name in header] for row in rows)]


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
        **{f"train_{name}": mean(name) for name in names if not METRICS[name].by_class},
        **{f"val_{name}": val[name] for name in names},
        "lr": train[-1].get("lr") if train else None,
    }


def read_points(
    path: Path | None, size: int, unwritten: Iterable[bytes] = ()
) -> tuple[list[Record], int, list[bytes]]:
    """Read the first `size` bytes of a metrics.jsonl, if there is one, then the `unwritten` lines.

    Returns all points that can be read, how many bytes of the file are whole lines, and the lines behind.
    """
    points: list[Record] = []
    later: list[bytes] = []
    whole, in_place = 0, True
    written = ((line, True) for line in _lines(path, size))
    for line, is_written in itertools.chain(written, ((line, False) for line in unwritten)):
        in_place &= is_written
        try:
            points.append(parse_point(line))
        except ValueError:
            in_place = False
            continue
        if in_place:
            whole += len(line)
        else:
            later.append(line)
    return points, whole, later


def _lines(path: Path | None, size: int) -> Iterator[bytes]:
    """Yield the lines in the first `size` bytes of a file, longer ones in parts."""
    if path is None or not path.is_file():
        return
    with open_regular(path) as file:
        while line := file.readline(min(size, MAX_LINE)):
            size -= len(line)
            yield line
