"""Are metrics.jsonl, metrics.csv and the event files whole, and do they agree?"""

import csv
import io
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from imclass.config.metric import METRICS
from imclass.runs.event_files import Scalar, scalars_in
from imclass.runs.logger import missing_logs
from imclass.runs.metrics_file import csv_table, evaluation_rows
from imclass.runs.records import Record, differing_figure, read_bytes, read_metrics
from imclass.runs.tensorboard import EVENTS, event_files, events_folder, whole_part
from imclass.runs.verify.verdict import Verdict

POSITION = ("step", "epoch", "split", "images")


def check_logs(verdict: Verdict, logged: Mapping[str, Any]) -> None:
    """Look at the logs. logged: how long they were when last.pt was written, the logger's part of it."""
    verdict.problems += missing_logs(verdict.path, logged)
    incomplete = set(verdict.summary.get("unwritten") or ())
    verdict.notes += [f"{name} lacks what a full disk did not take" for name in sorted(incomplete)]
    points = _check_metrics(verdict)
    if "metrics.csv" not in incomplete:
        _check_csv(verdict, points)
    scalars = _check_events(verdict)
    if scalars and verdict.finished and not incomplete & {"metrics.jsonl", "tensorboard"}:
        _check_agreement(verdict, points, scalars)


def _check_metrics(verdict: Verdict) -> list[Record]:
    """metrics.jsonl: every line a point, each (step, split) once, in order; the summary has the last ones."""
    file = verdict.path / "metrics.jsonl"
    points: list[Record] = verdict.attempt(lambda: read_metrics(file), [])
    data = read_bytes(file) if file.is_file() else b""
    if verdict.settled and data and not data.endswith(b"\n"):
        verdict.add(file.name, "its last line is incomplete")
    for (step, split), count in Counter((p["step"], p["split"]) for p in points).items():
        if count > 1:
            verdict.add(file.name, f"step {step}, {split}: {count} points")
    for before, after in pairwise(points):
        if after["step"] < before["step"]:
            verdict.add(file.name, f"step {after['step']} follows step {before['step']}")
    if verdict.finished and points and data.endswith(b"\n"):
        for split in ("val", "test"):
            if problem := differing_figure(verdict.summary, split, points):
                verdict.add("summary.json", problem)
    return points


def _check_csv(verdict: Verdict, points: list[Record]) -> None:
    """metrics.csv has the rows that follow from metrics.jsonl; of a run that goes on, those of both agree."""
    file = verdict.path / "metrics.csv"
    if not file.is_file() or verdict.held:
        return
    content = read_bytes(file).decode(errors="replace")
    table = csv_table(evaluation_rows(points))
    if not content.startswith(_text_of(table[:1])):
        table = _without_figures_by_class(table)
    found, due = _by_step(content), _by_step(_text_of(table))
    both = found.keys() & due.keys()
    if any(found[step] != due[step] for step in both) or (verdict.finished and found.keys() != due.keys()):
        verdict.add(file.name, "does not agree with metrics.jsonl")


def _text_of(table: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue()


def _without_figures_by_class(table: list[list[Any]]) -> list[list[Any]]:
    """Return the table as it was before it had figures by class."""
    later = {f"val_{name}" for name, metric in METRICS.items() if metric.by_class}
    kept = [column for column, name in enumerate(table[0]) if name not in later]
    return [[row[column] for column in kept] for row in table]


def _by_step(text: str) -> dict[str, str]:
    """Return the lines of a CSV file by their first field."""
    return {line.split(",")[0]: line for line in text.splitlines()}


def _check_events(verdict: Verdict) -> list[Scalar]:
    """Event files: every record whole, each scalar once."""
    scalars: list[Scalar] = []
    for file in event_files(events_folder(verdict.path)):
        data = verdict.attempt(lambda file=file: read_bytes(file), b"")  # type: ignore[misc]
        whole = whole_part(data)
        if whole < len(data) and not verdict.held:
            verdict.add(str(file.relative_to(verdict.path)), f"damaged at byte {whole:,} of {len(data):,}")
        scalars += scalars_in(data)
    for (tag, step), count in Counter((scalar.tag, scalar.step) for scalar in scalars).items():
        if count > 1:
            verdict.add(f"{EVENTS}*", f"{tag}, step {step}: {count} points")
    return scalars


def _check_agreement(verdict: Verdict, points: Iterable[Record], scalars: Iterable[Scalar]) -> None:
    """TensorBoard shows the figures of metrics.jsonl, rounded to float32; those of the test are no curve."""
    shown = {(tag, step): value for tag, step, value in scalars}
    for point in (point for point in points if point["split"] != "test"):
        for key, value in point.items():
            tag = f"{point['split']}/{key}"
            if key in POSITION or value is None:
                continue
            if shown.get((tag, point["step"])) != struct.unpack("f", struct.pack("f", value))[0]:
                verdict.add(f"{EVENTS}*", f"{tag}, step {point['step']}: not as in metrics.jsonl")
