"""Are the weights in a run folder whole, finite, and those of its summary?"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from imclass.config.groups import group_choices, is_shipped
from imclass.errors import UserError
from imclass.runs.checkpoint import Header, State, load_best, load_checkpoint, require
from imclass.runs.record_schema import HEADER, problem_of, problem_of_about
from imclass.runs.same_run import equal
from imclass.runs.verify.optimizer import problem_of_optimizer
from imclass.runs.verify.settings import check_settings
from imclass.runs.verify.verdict import Verdict
from imclass.runs.weights import read_weights, tensors_in

_NAMES = ("model", "optimizer", "schedule", "ema", "scaler", "meter", "stopwatch", "progress", "logger")
PARTS: dict[str, Any] = {name: {} for name in _NAMES}  # dicts, whatever is in them


class Checkpoint(NamedTuple):
    """A file that was read; both empty where it is not there or damaged."""

    header: Header
    state: State


def check_weights(verdict: Verdict, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Look at all files of weights; return the logger's part of last.pt, empty if there is none.

    settings: those in config.yaml, which a checkpoint has too.
    """
    last, previous, best = (_read(verdict, f"checkpoints/{name}.pt") for name in ("last", "previous", "best"))
    for name, checkpoint in (("last", last), ("previous", previous)):
        _check_optimizer(verdict, f"checkpoints/{name}.pt", checkpoint.state, settings)
    if last.state and previous.state and previous.header["step"] > last.header["step"]:
        verdict.add("checkpoints/previous.pt", f"step {previous.header['step']}: newer than last.pt")
    if last.state and best.state and _kinds(last.state["model"]) != _kinds(best.state["model"]):
        verdict.add("checkpoints/best.pt", "is of another model than last.pt")
    if last.state:
        verdict.step = last.header["step"]
        check_settings(verdict, settings, last.state["about"]["config"])
    _check_summary(verdict, last, best)
    _check_safetensors(verdict, best)
    logged: Mapping[str, Any] = last.state.get("logger", {})
    return logged


def _read(verdict: Verdict, name: str) -> Checkpoint:
    path, is_best = verdict.path / name, name.endswith("best.pt")
    try:
        header, state = load_best(path) if is_best else load_checkpoint(path)
        require(problem_of(header, HEADER), path)
        require(problem_of(state, {} if is_best else PARTS) or problem_of_about(state), path)
    except FileNotFoundError:
        return Checkpoint({}, {})
    except UserError as error:
        verdict.problems.append(str(error))
        return Checkpoint({}, {})
    bad = [key for key, tensor in tensors_in(state) if not _is_finite(tensor)]
    if bad:
        verdict.add(name, f"not finite: {', '.join(bad[:3])}{' ...' if len(bad) > 3 else ''}")
    return Checkpoint(header, state)


def _check_optimizer(verdict: Verdict, file: str, state: State, settings: Mapping[str, Any]) -> None:
    section = settings.get("optimizer")
    name = section.get("name") if isinstance(section, dict) else None
    shipped = name in group_choices("optimizer") and is_shipped("optimizer", str(name))
    if state and (problem := problem_of_optimizer(state["optimizer"], state["model"], shipped=shipped)):
        verdict.add(file, problem)


def _check_summary(verdict: Verdict, last: Checkpoint, best: Checkpoint) -> None:
    """Compare with summary.json, which is of the same step once a run has ended in order."""
    summary, figures = verdict.summary, verdict.summary.get("best") or {}
    if not verdict.settled:
        return
    if last.state and last.header["step"] != summary["step"]:
        verdict.add(
            "checkpoints/last.pt", f"step {last.header['step']}, not {summary['step']} as in summary.json"
        )
    if best.state:
        for key, value in figures.items():
            if best.header.get(key) != value:
                verdict.add(
                    "checkpoints/best.pt", f"{key} {best.header.get(key)}, not {value} as in summary.json"
                )
    elif figures and not (verdict.path / "checkpoints/best.pt").exists():
        verdict.add(
            "checkpoints/best.pt", f"missing; summary.json has a best model of step {figures['step']}"
        )


def _check_safetensors(verdict: Verdict, best: Checkpoint) -> None:
    """best.safetensors has the tensors of best.pt, once the run is finished."""
    path = verdict.path / "best.safetensors"
    if not path.exists():
        return
    tensors: dict[str, Tensor] = verdict.attempt(lambda: read_weights(path, digest_required=True), {})
    if tensors and not all(map(_is_finite, tensors.values())):
        verdict.add(path.name, "not finite")
    elif tensors and best.state and verdict.finished and not equal(tensors, dict(best.state["model"])):
        verdict.add(path.name, "other weights than best.pt")


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _kinds(state: Mapping[str, Tensor]) -> dict[str, tuple[torch.dtype, torch.Size]]:
    return {name: (tensor.dtype, tensor.shape) for name, tensor in state.items()}
