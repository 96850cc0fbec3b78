"""Read back what a run has written: metrics.jsonl, the table made from it, and its JSON files."""

import json
import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imclass.config.check import flatten
from imclass.config.metric import METRICS
from imclass.config.stored import read_settings
from imclass.errors import UserError, did_you_mean, first_line

Record = dict[str, Any]
SPLITS = ("train", "val", "test")
# What a page needs.
SETTINGS = ("model.name", "dataset.name", "dataset.val_split")
SCORES = (
    "images",
    "classes",
    "macro",
    "top5_accuracy",
    "confusion_matrix",
    "calibration",
    "expected_calibration_error",
)


def parse_point(line: bytes | str) -> Record:
    """Return the point of one line of metrics.jsonl. Raises ValueError for anything else."""
    try:
        point = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(point, dict) or type(point.get("step")) is not int or point.get("split") not in SPLITS:
        raise ValueError("expected an object with step and split")
    return point


def read_metrics(path: Path) -> list[Record]:
    """Return the records of a metrics.jsonl, without an incomplete last line."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


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
        "lr": train[-1]["lr"] if train else None,
    }


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The records of a run folder; empty where the run has not come that far."""

    path: Path
    settings: dict[str, Any]  # {'train.epochs': 5, ...}
    summary: dict[str, Any]  # an entry that is not there yet is None
    provenance: dict[str, Any]
    metrics: list[Record]
    scores: dict[str, Any]  # evaluation.json

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def status(self) -> str:
        return str(self.summary["status"] or "failed")


def is_run(path: Path) -> bool:
    return (path / "config.yaml").is_file()


def find_run(text: str) -> Path:
    """Return the run folder at the path `text`, or at `outputs/<text>`. Raises UserError."""
    for path in (Path(text), Path("outputs") / text):
        if is_run(path):
            return path
    near = did_you_mean(text, (path.name for path in Path("outputs").glob("*") if is_run(path)))
    raise UserError(f"{text}: no run folder here or in outputs/; expected a folder with a config.yaml{near}")


def read_run(path: Path) -> RunRecord:
    """Read a run folder's records. Raises UserError naming a file that is damaged or not a run's."""
    settings, parts, file = flatten(read_settings(path)), [], path
    try:
        for name in ("summary.json", "provenance.json", "evaluation.json"):
            file = path / name
            parts.append(_read_json(file))
        file = path / "metrics.jsonl"
        metrics = read_metrics(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as a run's record ({first_line(error)})") from error
    summary, provenance, scores = parts
    _require(settings, SETTINGS, path / "config.yaml")
    if scores:
        _require(scores, SCORES, path / "evaluation.json")
    return RunRecord(path, settings, defaultdict(lambda: None, summary), provenance, metrics, scores)


def _read_json(file: Path) -> dict[str, Any]:
    content = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if not isinstance(content, dict):
        raise ValueError("expected an object")
    return content


def _require(content: dict[str, Any], keys: Iterable[str], file: Path) -> None:
    if missing := [key for key in keys if key not in content]:
        raise UserError(f"{file}: was not written by imclass; it lacks {', '.join(missing)}")


def commands(recorded: Mapping[str, Any]) -> list[str]:
    """Return the distinct commands of a provenance.json in order, as typed."""
    sessions = [recorded, *recorded.get("resumed", [])]
    typed = [shlex.join(session["command"]) for session in sessions if "command" in session]
    return list(dict.fromkeys(typed))
