"""Read back what a run has written: metrics.jsonl and its JSON files, checked against their schema."""

import json
import shlex
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imclass.config.check import flatten
from imclass.config.metric import METRICS
from imclass.config.run_names import is_run, similar_runs
from imclass.config.setting import show
from imclass.config.stored import read_settings, require_valid
from imclass.errors import UserError, first_line
from imclass.runs.record_schema import (
    POINT,
    PROVENANCE,
    problem_of,
    problem_of_evaluation,
    problem_of_summary,
)
from imclass.runs.regular import open_regular

Record = dict[str, Any]
MAX_BYTES = 500_000_000  # of a file that is read into memory
MAX_LINE = 1_000_000  # bytes of a point
MAX_OBJECT = 1_000_000  # bytes of summary.json: parsed, it takes many times its size
MAX_PROVENANCE = 5_000_000  # 1 to 3 KB for each time that a run was resumed
MAX_EVALUATION = 50_000_000  # 2,000 classes: the confusion matrix has a line per entry
SETTINGS = ("model.name", "dataset.name", "dataset.val_split")  # what a page needs


def read_summary(path: Path) -> Record:
    """Return the summary of the run folder `path`; empty if it has none yet.

    Raises UserError naming the file when it is not what a run writes; likewise all readers here.
    """
    file = path / "summary.json"
    return _read_object(file, problem_of_summary, MAX_OBJECT) if file.exists() else {}


def read_provenance(path: Path) -> Record:
    """Return the provenance of the run folder `path`; empty if it has none."""
    file = path / "provenance.json"
    if not file.exists():
        return {}
    return _read_object(file, lambda value: problem_of(value, PROVENANCE), MAX_PROVENANCE)


def read_evaluation(path: Path) -> Record:
    """Return the scores on the test set of the run folder `path`; empty if it has none."""
    file = path / "evaluation.json"
    return _read_object(file, problem_of_evaluation, MAX_EVALUATION) if file.exists() else {}


def read_metrics(file: Path) -> list[Record]:
    """Return the points of a metrics.jsonl, without an incomplete last line; none if there is no file."""
    points: list[Record] = []
    data = read_bytes(file) if file.exists() else b""
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            points.append(parse_point(line + b"\n"))
        except ValueError as error:
            raise UserError(f"{file}: line {number} is not valid ({error})") from error
    return points


def parse_point(line: bytes) -> Record:
    """Return the point of one line of metrics.jsonl, with its line feed.

    Raises ValueError, in one line, for anything else.
    """
    if not line.endswith(b"\n"):
        raise ValueError("its end is missing")
    if len(line) > MAX_LINE:
        raise ValueError("longer than 1 MB")
    point = _parse(line)
    if problem := problem_of(point, POINT):
        raise ValueError(problem)
    return point


def read_bytes(file: Path, largest: int = MAX_BYTES) -> bytes:
    """Return the content of a regular file of at most `largest` bytes. Raises UserError naming any other."""
    try:
        with open_regular(file) as opened:
            data = opened.read(largest + 1)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}; expected a file that imclass wrote") from error
    if len(data) > largest:
        raise UserError(f"{file}: larger than {largest // 1_000_000} MB; imclass writes no such file")
    return data


def _read_object(file: Path, problem_in: Callable[[Any], str | None], largest: int) -> Record:
    try:
        content = _parse(read_bytes(file, largest))
        problem = problem_in(content)
    except ValueError as error:
        problem = str(error)
    if problem is not None:
        raise UserError(f"{file}: not a valid {file.name} ({problem}); restore or delete it")
    return content


def _parse(data: bytes) -> Any:
    """Return the value of a JSON text. Raises ValueError, in one line."""
    try:
        return json.loads(data.decode())
    except UnicodeDecodeError as error:
        raise ValueError("not a text in UTF-8") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"not JSON: {first_line(error)}") from error


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The records of a run folder; empty where the run has not come that far."""

    path: Path
    settings: dict[str, Any]  # {'train.epochs': 5, ...}
    summary: dict[str, Any]  # an entry that is not there yet is None
    provenance: dict[str, Any]
    metrics: Sequence[Record]
    scores: dict[str, Any]  # evaluation.json

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def validates_on_test(self) -> bool:
        return validates_on_test(self.settings)

    @property
    def edited(self) -> str:
        """Return what to warn of: a figure that summary.json and metrics.jsonl differ in; empty if none.

        Of a finished run, someone has changed one of the two by hand.
        """
        if self.status != "finished" or "metrics.jsonl" in (self.summary["unwritten"] or ()):
            return ""
        # The step of the best model may have been repeated in a resumed run.
        entries = ("val", "test") if self.provenance.get("resumed") else ("val", "test", "best")
        found = (differing_figure(self.summary, entry, self.metrics) for entry in entries)
        command = f"imclass verify {shlex.quote(str(self.path))}"
        return next((f"{self.path / 'summary.json'}: {text}; see {command}" for text in found if text), "")

    @property
    def status(self) -> str:
        return str(self.summary["status"] or "failed")


def validates_on_test(settings: Mapping[str, Any]) -> bool:
    """Return whether the best model was chosen on the test images; folds leave these alone."""
    return settings["dataset.val_split"] == "test" and settings.get("dataset.folds") is None


def differing_figure(summary: Mapping[str, Any], entry: str, points: Sequence[Record]) -> str | None:
    """Return the first figure of an entry of summary.json that metrics.jsonl has otherwise; None if none.

    entry: "val" and "test" have the figures of the last point of their split, "best" those of its step.
    """
    figures = summary.get(entry) or {}
    split = "val" if entry == "best" else entry
    at = [p for p in points if p["split"] == split and (entry != "best" or p["step"] == figures.get("step"))]
    point = at[-1] if at else {}
    for key, value in figures.items():
        if key in METRICS and point.get(key) != value:
            return f"{entry} {key} {show(value)}, where metrics.jsonl has {show(point.get(key))}"
    return None


def find_run(text: str) -> Path:
    """Return the run folder at the path `text`, or at `outputs/<text>`. Raises UserError."""
    for path in (Path(text), Path("outputs") / text):
        if is_run(path):
            return path
    near = similar_runs(text if "/" in text.rstrip("/") else f"outputs/{text}")
    raise UserError(f"{text}: no run folder here or in outputs/; expected a folder with a config.yaml{near}")


def read_run(path: Path, points: Sequence[Record] | None = None) -> RunRecord:
    """Read a run folder's records. Raises UserError naming a file that is damaged or not a run's.

    points: those of metrics.jsonl; None to read them.
    """
    stored = read_settings(path)
    settings = flatten(stored)
    if missing := [key for key in SETTINGS if key not in settings]:
        raise UserError(f"{path / 'config.yaml'}: was not written by imclass; it lacks {', '.join(missing)}")
    require_valid(stored, path)
    return RunRecord(
        path,
        settings,
        defaultdict(lambda: None, read_summary(path)),
        read_provenance(path),
        read_metrics(path / "metrics.jsonl") if points is None else points,
        read_evaluation(path),
    )


def commands(recorded: Mapping[str, Any]) -> list[str]:
    """Return the distinct commands of a provenance.json in order, as typed."""
    sessions = [recorded, *recorded.get("resumed", [])]
    typed = [shlex.join(session["command"]) for session in sessions if "command" in session]
    return list(dict.fromkeys(typed))
