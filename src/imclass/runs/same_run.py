"""Are two runs the same, bit for bit? What only the clock or their names decide does not count."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from imclass.runs.checkpoint import read_checkpoint
from imclass.runs.event_files import Scalar, scalars_in
from imclass.runs.records import read_metrics
from imclass.runs.tensorboard import EVENTS, event_files, events_folder

OWN = {"stopwatch", "logger", "about"}  # the clock, positions in files, names
SAME = ("status", "step", "best", "val", "test")


def differences(got: Path, want: Path) -> list[str]:
    """Return what differs between two run folders; nothing where they are the same run.

    Weights, optimizer, best model, every logged figure and TensorBoard's scalars are compared bit for bit,
    and every file that `want` has must be there.
    """
    found = [f"{name} is missing" for name in sorted(_names(want) - _names(got))]
    for name in ("last.pt", "best.pt"):
        a, b = (read_checkpoint(run / "checkpoints" / name) for run in (got, want))
        parts = sorted((a.keys() | b.keys()) - OWN)
        found += [f"{name}: {part} differs" for part in parts if not equal(a.get(part), b.get(part))]
    found += [] if equal(_records(got), _records(want)) else ["metrics.jsonl differs"]
    points = event_points(got)
    found += [] if equal(points, event_points(want)) else ["TensorBoard's scalars differ"]
    found += [] if len(points) == len(set(points)) else ["TensorBoard has a scalar twice"]
    a, b = (json.loads((run / "summary.json").read_text()) for run in (got, want))
    return found + [f"summary.json: {key} differs" for key in SAME if not equal(a[key], b[key])]


def equal(a: object, b: object) -> bool:
    """Return whether two trees of dicts, lists, tensors and plain values are equal, bit for bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return (a.dtype, a.shape) == (b.dtype, b.shape) and torch.equal(_bits(a), _bits(b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and type(a) is type(b):
        return len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and repr(a) == repr(b)  # of floats: -0.0 is not 0.0, NaN is NaN


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


def event_points(run: Path) -> list[Scalar]:
    """Return every scalar in the event files that does not depend on the clock, sorted."""
    points = (scalar for file in event_files(events_folder(run)) for scalar in scalars_in(file.read_bytes()))
    return sorted(scalar for scalar in points if "images_per_second" not in scalar.tag)


def _names(run: Path) -> set[str]:
    """Return the files of a run by their paths in it; the event files count as one."""
    files: Iterable[Path] = (path.relative_to(run) for path in run.rglob("*") if path.is_file())
    return {f"{EVENTS}*" if file.name.startswith(EVENTS) else str(file) for file in files} - {".lock"}


def _records(run: Path) -> list[dict[str, Any]]:
    lines = read_metrics(run / "metrics.jsonl")
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines]
