"""Are two runs the same, bit for bit?"""

import json
from pathlib import Path

import torch
from conftest import records

from imclass.runs.checkpoint import read_checkpoint


def assert_same_run(got: Path, want: Path) -> None:
    """Weights, optimizer, best model and every logged figure are equal, bit for bit."""
    for name in ("last.pt", "best.pt"):
        a, b = (read_checkpoint(run / "checkpoints" / name) for run in (got, want))
        assert a.keys() == b.keys()
        for part in a.keys() - {"stopwatch", "logger", "about"}:  # clock, file positions, names
            assert equal(a[part], b[part]), f"{name}: {part}"
    assert records(got) == records(want)
    assert event_points(got) == event_points(want)
    assert len(event_points(got)) == len(set(event_points(got)))
    summaries = [json.loads((run / "summary.json").read_text()) for run in (got, want)]
    for key in ("status", "step", "best", "val", "test"):
        assert summaries[0][key] == summaries[1][key]


def equal(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def event_points(run: Path) -> list[tuple[str, int, float]]:
    """Return (tag, step, value) of every scalar in the event files that does not depend on the clock."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    points = []
    for file in sorted((run / "tensorboard").iterdir()):
        events = EventAccumulator(str(file), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            if "images_per_second" not in tag:
                points += [(tag, e.step, e.value) for e in events.Scalars(tag)]
    return sorted(points)
