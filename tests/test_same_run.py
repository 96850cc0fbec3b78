"""What makes two runs different: the comparison behind every claim of "bit for bit" names each part."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from damages import Damage, drop_an_event, edit, lines, remove, repeat_an_event, replace

from imclass.runs.checkpoint import read_checkpoint
from imclass.runs.same_run import differences


def change(part: str) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Flip the last bit of the first tensor in a part of a checkpoint; drop a part that has none."""

    def in_content(header: dict[str, Any], content: dict[str, Any]) -> None:
        tensors = [leaf for leaf in leaves(content[part]) if isinstance(leaf, torch.Tensor)]
        if tensors:
            tensors[0].view(-1)[:1].view(torch.uint8)[0] ^= 1
        else:
            del content[part]

    return in_content


def leaves(tree: Any) -> list[Any]:
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else None
    return [tree] if children is None else [leaf for child in children for leaf in leaves(child)]


EDITS: dict[str, tuple[Damage, str]] = {
    "a logged loss": (
        replace("metrics.jsonl", r'("split": "train", .*"loss": \d\.\d*)\d', r"\g<1>"),
        "metrics.jsonl differs",
    ),
    "a point less": (lines(lambda points: points[:-1]), "metrics.jsonl differs"),
    "a point twice": (lines(lambda points: [*points, points[-1]]), "metrics.jsonl differs"),
    "an event less": (drop_an_event, "TensorBoard's scalars differ"),
    "an event twice": (repeat_an_event, "TensorBoard has a scalar twice"),
    "no events": (remove("events"), "events.out.tfevents.* is missing"),
    **{
        f"no {name}": (remove(name), f"{name} is missing")
        for name in ("report.html", "best.safetensors", "evaluation.json", "plots/curves.png", "metrics.csv")
    },
    "another end": (replace("summary.json", '"finished"', '"interrupted"'), "summary.json: status differs"),
    "another step": (replace("summary.json", r'"step": \d', '"step": 7'), "summary.json: step differs"),
    **{
        f"another {key}": (
            replace("summary.json", rf'("{key}": {{[^}}]*"accuracy": \d\.\d*)\d', r"\g<1>"),
            f"summary.json: {key} differs",
        )
        for key in ("val", "test")
    },
}


@pytest.mark.fault("R1")
@pytest.mark.parametrize("name", EDITS)
def test_each_difference_in_a_file_is_named(run: Path, finished: Path, name: str) -> None:
    damage, expected = EDITS[name]
    damage(run)
    assert expected in differences(run, finished)


@pytest.mark.fault("R1")
@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
def test_each_difference_in_a_checkpoint_is_named(run: Path, finished: Path, name: str) -> None:
    file = Path("checkpoints", name)
    parts = read_checkpoint(finished / file).keys() - {"stopwatch", "logger", "about"}
    assert parts >= ({"model"} if name == "best.pt" else {"model", "optimizer", "progress"})
    for part in parts:
        (run / file).write_bytes((finished / file).read_bytes())
        edit(name, change(part))(run)
        assert differences(run, finished) == [f"{name}: {part} differs"]


@pytest.mark.fault("R1")
def test_what_the_clock_decides_is_no_difference(run: Path, finished: Path) -> None:
    replace("metrics.jsonl", r'("images_per_second": )', r"\g<1>9", count=0)(run)
    assert differences(run, finished) == []
