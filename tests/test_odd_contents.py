"""Checkpoints whose digest is right and whose contents are not: refused in one line before they are used."""

import copy
import functools
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import QUICK, merged
from torch import nn

from imclass.config.compose import compose_config
from imclass.errors import UserError
from imclass.runs.checkpoint import load_checkpoint, read_checkpoint, write_checkpoint
from imclass.runs.folder import RunFolder
from imclass.training.saved_state import optimizer_after_a_step, problem_of_state
from imclass.training.step import Learner


def rewritten(file: Path, change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> None:
    """Change header and contents of a checkpoint; its digest is right."""
    header, state = load_checkpoint(file)
    state = change(header, state) or state
    write_checkpoint(file, state, header)


@pytest.mark.fault("C11")
def test_a_checkpoint_of_another_model_is_refused_with_the_differences(imclass, run) -> None:
    def renamed(header: dict[str, Any], state: dict[str, Any]) -> None:
        weights = state["model"]
        name = next(iter(weights))
        weights["another"] = weights.pop(name)
        other = next(name for name in weights if name != "another")
        weights[other] = weights[other][None]

    names = list(read_checkpoint(run / "checkpoints/best.pt")["model"])
    for name in ("best", "last"):
        rewritten(run / f"checkpoints/{name}.pt", renamed)
    for argv in (["evaluate", "run"], ["train", "name=run", *merged(QUICK, ["train.epochs=3"])]):
        outcome = imclass(*argv)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert f"missing: {names[0]}; unexpected: another; of another shape: {names[1]} 1x" in outcome.err


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


# With a right digest, but not what a run writes: to resume from, and to evaluate.
ODD: dict[str, Callable[[dict[str, Any], dict[str, Any]], Any]] = {
    "not a dict": lambda header, state: [state],
    "empty": lambda header, state: {"model": {}},
    "no weights": lambda header, state: {**state, "model": {"weight": "heavy"}},
    "other weights": lambda header, state: {**state, "model": {"weight": torch.zeros(1)}},
    "another shape": lambda header, state: {
        **state,
        "model": {k: v[None] for k, v in state["model"].items()},
    },
    "nested": lambda header, state: {**state, "about": nested(50), "progress": nested(50)},
    "a header of another type": lambda header, state: header.update(step="9", threads="many", hardware=[1]),
    "an empty header": lambda header, state: header.clear(),
    "text for numbers": lambda header, state: {
        **state,
        "progress": {**state.get("progress", {}), "step": "9"},
        "about": {**state["about"], "mean": ["dark"]},
    },
    "nothing else": lambda header, state: {"model": state["model"], "progress": {}, "about": {}},
    "another size": lambda header, state: {
        **state,
        "meter": {"sums": torch.zeros(5)},
        "about": {**state["about"], "shape": [10**9, 1, 1]},
    },
    "other classes": lambda header, state: {
        **state,
        "logger": {"metrics": "all", "events": 3},
        "about": {**state["about"], "classes": [{}]},
    },
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_contents_with_a_right_digest_are_one_line(imclass, run, odd: str) -> None:
    for name in ("best", "last"):
        rewritten(run / f"checkpoints/{name}.pt", ODD[odd])
        outcome = imclass("evaluate", "run", "--weights", name)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    (run / "checkpoints/previous.pt").unlink()
    outcome = imclass("train", "name=run", *merged(QUICK, ["train.epochs=3"]))
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert "weights_only" not in outcome.err


ODD_TENSORS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sparse": lambda tensor: tensor.to_sparse(),
    "meta": lambda tensor: tensor.to("meta"),
    "expanded": lambda tensor: torch.zeros(1).expand(10**14),
    "beyond its storage": lambda tensor: torch.zeros(9)[8:].expand(9),
    "int8": lambda tensor: tensor.to(torch.int8),
    "complex": lambda tensor: tensor.to(torch.complex64),
}


@pytest.mark.fault("S1", "C11")
@pytest.mark.parametrize("odd", ODD_TENSORS)
def test_tensors_that_are_not_ordinary_are_refused(imclass, run, odd: str) -> None:
    """Each with a right digest, so that only its kind can tell."""

    def changed(header: dict[str, Any], state: dict[str, Any]) -> None:
        name = next(name for name, tensor in state["model"].items() if tensor.ndim > 1)
        state["model"][name] = ODD_TENSORS[odd](state["model"][name])

    (run / "checkpoints/previous.pt").unlink()
    for name in ("last", "best"):
        rewritten(run / f"checkpoints/{name}.pt", changed)
    for argv in (
        ["evaluate", "run"],
        ["train", *merged(QUICK, [f"model.weights={run}/checkpoints/best.pt"])],
        ["train", "name=run", *merged(QUICK, ["train.epochs=3"])],
        ["verify", "outputs/run"],
    ):
        outcome = imclass(*argv)
        assert outcome.code != 0 and "Traceback" not in outcome.err
        assert all(line.startswith("imclass: ") for line in outcome.err.splitlines())


# One entry of last.pt each: the keys to it, and what stands there instead.
ODD_ENTRIES: list[list[Any]] = [
    ["optimizer", "state", 0, "momentum_buffer", torch.zeros(6, 1, 5, 5, dtype=torch.int8)],
    ["optimizer", "state", 0, {}],
    ["optimizer", "state", {}],
    ["optimizer", "param_groups", 0, "params", [9, 9]],
    ["optimizer", "param_groups", 0, "initial_lr", None],
    ["optimizer", "param_groups", []],
    ["optimizer", 3],
    ["stopwatch", "train", "x"],
    ["stopwatch", "train", float("nan")],
    ["progress", "micro_batch", -3],
    ["progress", "micro_batch", "x"],
    ["progress", "best", {"accuracy": 1.0}],
    ["progress", "more", 1],
    ["meter", "sums", torch.zeros(3, 3, dtype=torch.float64)],
    ["meter", {}],
    ["schedule", {"x": 1}],
    ["ema", {"n_averaged": torch.zeros(())}],
]


@pytest.mark.fault("C11")
def test_every_entry_of_a_checkpoint_is_checked_before_it_is_used(
    imclass, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some would make a fused kernel write outside of its memory."""
    longer = ["train", "name=run", *merged(QUICK, ["train.epochs=3"])]
    file = run / "checkpoints/last.pt"
    whole, (header, state) = file.read_bytes(), load_checkpoint(file)
    state["optimizer"]["state"][0]["momentum_buffer"] = torch.zeros(7, 3)
    write_checkpoint(file, state, header)
    config = (run / "config.yaml").read_bytes()
    outcome = imclass(*longer)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert "momentum_buffer: expected torch.float32 [6, 1, 5, 5], not torch.float32 [7, 3]" in outcome.err
    assert (run / "config.yaml").read_bytes() == config

    def check_all(state: dict[str, Any], header: dict[str, Any], learner: Learner, folder: RunFolder) -> None:
        assert problem_of_state(state, header, learner, folder.config.optimizer) is None
        for *keys, last, value in ODD_ENTRIES:
            odd = copy.deepcopy(state)
            parent = functools.reduce(operator.getitem, keys, odd)
            parent[last] = value
            assert problem_of_state(odd, header, learner, folder.config.optimizer), (*keys, last)
        raise UserError("all were checked")

    file.write_bytes(whole)
    monkeypatch.setattr("imclass.training.build.require_resumable", check_all)
    assert "all were checked" in imclass(*longer).err


def test_checking_a_checkpoint_takes_no_memory_of_the_models_device() -> None:
    """A model on the meta device has none: a copy of it there could not take a step."""
    for name in ("sgd", "adamw", "muon"):
        config = compose_config([f"optimizer={name}"], []).optimizer
        with torch.device("meta"):
            model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Linear(3, 2))
        states = optimizer_after_a_step(config, model)["state"]
        assert len(states) == len(list(model.parameters()))
        assert {t.device.type for state in states.values() for t in state.values() if torch.is_tensor(t)} == {
            "cpu"
        }
