"""What stands in the files of a run folder. Anyone may have edited them: they are checked when read."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from imclass.config.metric import METRICS
from imclass.config.setting import show

STATUSES = ("running", "finished", "interrupted", "diverged", "failed")
SPLITS = ("train", "val", "test")
LARGEST = 1e15  # steps, images, seconds, bytes: plots and tables cannot show more


@dataclass(frozen=True, slots=True)
class Entry:
    """One value: what it is, in words, and the test for it."""

    expected: str
    accepts: Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Optional:
    """A value that may be null, and unless it is `required`, missing."""

    schema: Any
    required: bool = False


@dataclass(frozen=True, slots=True)
class Sometimes:
    """A value that may be missing, but not null."""

    schema: Any


@dataclass(frozen=True, slots=True)
class Listed:
    """A list of such values."""

    schema: Any


@dataclass(frozen=True, slots=True)
class Exactly:
    """A mapping with these keys and no others."""

    schema: Mapping[Any, Any]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_counts(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and "/" not in name and COUNT.accepts(size) for name, size in value.items()
    )


TEXT = Entry("a text", lambda value: isinstance(value, str))
BYTES = Entry("bytes", lambda value: isinstance(value, bytes))
COUNT = Entry("a whole number from 0", lambda v: _is_number(v) and isinstance(v, int) and 0 <= v <= LARGEST)
NUMBER = Entry("a number from 0", lambda value: _is_number(value) and 0 <= value <= LARGEST)
FRACTION = Entry("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
# What a float32 can be; a loss on test images, of which nothing depends, may be infinite.
FIGURE = Entry("a number", lambda v: _is_number(v) and (isinstance(v, float) or abs(v) < LARGEST))


SIZE = Entry(
    "a whole number from 1 to 9,999", lambda v: _is_number(v) and isinstance(v, int) and 0 < v < 10_000
)
FLAG = Entry("true or false", lambda value: isinstance(value, bool))
COMPILE = Entry("true, false or cuda_graphs", lambda value: isinstance(value, bool) or value == "cuda_graphs")


def one_of(*choices: str) -> Entry:
    return Entry(f"one of {', '.join(choices)}", lambda value: isinstance(value, str) and value in choices)


_FIGURES = {name: FRACTION if metric.percent else FIGURE for name, metric in METRICS.items()}
FIGURES = {  # of an evaluation; older runs lack those by class
    name: Sometimes(entry) if METRICS[name].by_class else entry for name, entry in _FIGURES.items()
}
BEST = {"step": COUNT, "epoch": NUMBER, **FIGURES}
SUMMARY = {
    "status": one_of(*STATUSES),
    "step": COUNT,
    "epoch": NUMBER,
    "best": Optional(BEST),
    "val": Optional(FIGURES),
    "test": Optional(FIGURES),
    "seconds": {"total": NUMBER, "train": NUMBER, "evaluate": NUMBER},
    "images_per_second": Optional(NUMBER),
    "peak_memory_bytes": Optional(COUNT),
    "parameters": COUNT,
    "stopped": Optional(TEXT),
    "unwritten": Optional(Listed(TEXT)),
    "skipped": Optional(Entry("counts of images by split", _are_counts)),
    "test_readings": Optional(COUNT),
    "smoke": Optional(FLAG),
}
FINISHED = {**SUMMARY, "best": BEST, "test": FIGURES, "images_per_second": NUMBER}
POINT = {
    "step": COUNT,
    "epoch": NUMBER,
    "split": one_of(*SPLITS),
    "images": COUNT,
    **{name: Optional(_FIGURES[name], required=not m.by_class) for name, m in METRICS.items()},  # null: NaN
    "lr": Optional(FIGURE),
    "images_per_second": Optional(NUMBER),
    "grad_norm": Optional(FIGURE),
}
SESSION = {
    "command": Optional(Listed(TEXT)),
    "data": Optional({"train": COUNT, "val": COUNT, "test": COUNT}),
    "data_fingerprint": Optional(TEXT),
}
PROVENANCE = {**SESSION, "resumed": Optional(Listed(SESSION))}
POSITIONS = {  # a logger's part of a checkpoint
    "metrics": Optional(COUNT),
    "events": Optional(Entry("sizes of files by name", _are_counts)),
    "unwritten": Optional({"metrics": Optional(Listed(BYTES)), "events": Optional(Listed(BYTES))}),
}
HEADER = {  # of a checkpoint
    "step": COUNT,
    "threads": Optional(SIZE),
    "processes": Optional(SIZE),
    "compile": Optional(COMPILE),
}
COMPUTED = {  # the header of a checkpoint, to evaluate as its run did
    "data_fingerprint": TEXT,
    "hardware": TEXT,
    "precision": one_of("fp32", "bf16", "fp16"),
    "compile": COMPILE,
    "micro_batch": Optional(COUNT, required=True),
    "threads": SIZE,
}
ABOUT = {  # in every checkpoint, to use it without its run
    "config": TEXT,
    "classes": Listed(TEXT),
    "shape": [SIZE, SIZE, SIZE],
    "mean": Listed(FIGURE),
    "std": Listed(FIGURE),
}
_RATES = {"precision": FRACTION, "recall": FRACTION, "f1": FRACTION}
EVALUATION = {
    "images": COUNT,
    **FIGURES,
    "top5_accuracy": Optional(FRACTION, required=True),
    "macro": _RATES,
    "expected_calibration_error": FRACTION,
    "classes": Listed({"name": TEXT, **_RATES, "support": COUNT}),
    "confusion_matrix": Listed(Listed(COUNT)),
    "calibration": Listed({"confidence": FRACTION, "accuracy": FRACTION, "images": COUNT}),
}


def problem_of_summary(value: Any) -> str | None:
    """Return the problem with the content of a summary.json, or None."""
    is_finished = isinstance(value, dict) and value.get("status") == "finished"
    return problem_of(value, FINISHED if is_finished else SUMMARY)


def problem_of_evaluation(value: Any) -> str | None:
    """Return the problem with the content of an evaluation.json, or None."""
    problem = problem_of(value, EVALUATION)
    if problem is None:
        classes, matrix = len(value["classes"]), value["confusion_matrix"]
        if not classes or [len(row) for row in matrix] != [classes] * classes:
            return f"confusion_matrix: expected a row and a column for each of {classes} classes"
    return problem


def problem_of_about(value: Any) -> str | None:
    """Return the problem with what a checkpoint records of its model, or None."""
    problem = problem_of(value, {"about": ABOUT})
    if problem is None:
        about, channels = value["about"], value["about"]["shape"][0]
        if not about["classes"]:
            return "about.classes: expected at least one"
        if not len(about["mean"]) == len(about["std"]) == channels:
            return f"about.mean, about.std: expected {channels} numbers each"
    return problem


def problem_of(value: Any, schema: Any, key: str = "") -> str | None:
    """Return the first problem with a value from a file, with its key, or None.

    schema: an Entry, Optional, Sometimes, Listed, a list of one schema per item, a mapping of the keys that
    must be there (others may be), or Exactly such a mapping.
    """
    return next(_problems(value, schema, key), None)


def _problems(value: Any, schema: Any, key: str) -> Iterator[str]:
    if isinstance(schema, Optional):
        if value is not None:
            yield from _problems(value, schema.schema, key)
    elif isinstance(schema, Sometimes):
        yield from _problems(value, schema.schema, key)
    elif isinstance(schema, Entry):
        if not schema.accepts(value):
            yield f"{key}: expected {schema.expected}, not {_shown(value)}"
    elif isinstance(schema, Listed):
        if not isinstance(value, list):
            yield f"{key}: expected a list, not {_shown(value)}"
        else:
            for index, item in enumerate(value):
                yield from _problems(item, schema.schema, f"{key}[{index}]")
    elif isinstance(schema, list):
        if not isinstance(value, list | tuple) or len(value) != len(schema):
            yield f"{key}: expected a list of {len(schema)}, not {_shown(value)}"
        else:
            for index, (item, entry) in enumerate(zip(value, schema, strict=True)):
                yield from _problems(item, entry, f"{key}[{index}]")
    elif isinstance(schema, Exactly):
        yield from _problems(value, schema.schema, key)
        if isinstance(value, Mapping):
            names = (f"{key}.{name}" if key else str(name) for name in value if name not in schema.schema)
            yield from (f"{show(name)} is unexpected" for name in names)
    elif not isinstance(value, Mapping):
        yield f"{key + ': ' if key else ''}expected an object, not {_shown(value)}"
    else:
        for name, entry in schema.items():
            inner = f"{key}.{name}" if key else name
            if name in value:
                yield from _problems(value[name], entry, inner)
            elif not (isinstance(entry, Sometimes) or (isinstance(entry, Optional) and not entry.required)):
                yield f"{inner} is missing"


def _shown(value: Any) -> str:
    """Return a value in short, without control characters."""
    if isinstance(value, Mapping | list | tuple):
        return "an object" if isinstance(value, Mapping) else f"a list of {len(value)}"
    if hasattr(value, "layout"):
        return f"{value.dtype} {list(value.shape)}"  # a tensor
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = show(value) if not isinstance(value, int) or abs(value) < LARGEST else "a huge number"
    return text if len(text) <= 60 else f"{text[:60]}..."
