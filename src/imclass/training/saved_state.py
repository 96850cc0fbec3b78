"""What a checkpoint must hold for a training to resume from it: all that the training itself would save."""

import copy
from collections.abc import Container, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from imclass.config.schema import OptimizerConfig
from imclass.runs.checkpoint import Header, State
from imclass.runs.record_schema import (
    BEST,
    COUNT,
    FIGURE,
    FIGURES,
    FLAG,
    NUMBER,
    TEXT,
    Entry,
    Exactly,
    Optional,
    problem_of,
)
from imclass.training.optimizers import build_optimizer
from imclass.training.step import Learner


def _are_figures(value: Any, schema: Any) -> bool:
    numbers = isinstance(value, Mapping) and all(problem_of(v, FIGURE) is None for v in value.values())
    return numbers and (not value or problem_of(value, schema) is None)


BATCH = Entry("a whole number from 1", lambda value: problem_of(value, COUNT) is None and value > 0)
PROGRESS = {
    "step": COUNT,
    "waited": COUNT,
    "best": Entry("figures of the best model", lambda value: _are_figures(value, BEST)),
    "val": Entry("figures of an evaluation", lambda value: _are_figures(value, FIGURES)),
    "stopped": TEXT,
    "micro_batch": BATCH,
    "grad_norm": Optional(FIGURE),
}


def problem_of_state(state: State, header: Header, learner: Learner, config: OptimizerConfig) -> str | None:
    """Return where the contents of a checkpoint differ from what its training would save; None if nowhere.

    config: that of its optimizer. Compared are keys, types, and the dtypes and shapes of tensors.
    """
    progress = state.get("progress")
    since_0_1 = not (isinstance(progress, Mapping) and "evaluating" in progress)
    ended = {"evaluated": COUNT} if since_0_1 else {"evaluating": FLAG}
    optimizer = optimizer_after_a_step(config, learner.model)
    shapes = (3,), (header.get("processes", 1), 3)  # imclass 0.1 had no rows
    sums = Entry(
        "three sums per process",
        lambda found: isinstance(found, Tensor) and found.is_floating_point() and found.shape in shapes,
    )
    scaler = _like(learner.scaler.state_dict())
    kept = _has_state(state) or optimizer["state"]  # some may lack: a layer not used so far has no gradient
    steps = _like({number: entry for number, entry in optimizer["state"].items() if number in kept})
    schema = {
        "progress": Exactly({**PROGRESS, **ended}),
        "model": _like(learner.model.state_dict()),
        "ema": _like(learner.ema.state_dict()),
        "schedule": _like(learner.schedule.state_dict()),
        "stopwatch": Exactly(dict.fromkeys(("train", "evaluate", "train_at_log"), NUMBER)),
        "meter": Exactly({"sums": sums}),
        "scaler": _or_empty(scaler) if scaler.schema else {},  # another device may scale no gradients
        "optimizer": {
            "state": _or_empty(steps) if scaler.schema else steps,  # a scaler skips the first steps
            "param_groups": [_group(group) for group in optimizer["param_groups"]],
        },
    }
    return problem_of(state, schema)


def optimizer_after_a_step(config: OptimizerConfig, model: nn.Module) -> dict[str, Any]:
    """Return the `state_dict` that an optimizer has after one step: a new one has no state at all.

    The step is taken by a copy of the model on the CPU: it takes no memory of the model's device.
    """
    tensors = (*model.parameters(), *model.buffers())
    twin = copy.deepcopy(model, {id(tensor): _zeros_on_cpu(tensor) for tensor in tensors})
    optimizer = build_optimizer(config, twin)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return optimizer.state_dict()


def _zeros_on_cpu(tensor: Tensor) -> Tensor:
    zeros = torch.zeros_like(tensor, device="cpu")
    return nn.Parameter(zeros, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else zeros


def _has_state(state: State) -> Container[int]:
    """Return the numbers of the parameters that a checkpoint has a state of its optimizer for."""
    optimizer = state.get("optimizer")
    kept = optimizer.get("state") if isinstance(optimizer, Mapping) else None
    return kept if isinstance(kept, Mapping) else ()


def _or_empty(schema: Exactly) -> Entry:
    return Entry("the state of a step", lambda found: found == {} or problem_of(found, schema) is None)


def _group(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter group; releases of torch add flags to it."""
    params = group["params"]
    same = Entry("the parameters of this optimizer", lambda found: found == params)
    return {**{key: _like(value) for key, value in group.items()}, "params": same}


def _like(value: Any) -> Any:
    """Return the schema of what has the structure of `value`, and tensors of the same dtype and shape."""
    if isinstance(value, Tensor):
        dtype, shape = value.dtype, value.shape
        return Entry(
            f"{dtype} {list(shape)}",
            lambda found: isinstance(found, Tensor) and (found.dtype, found.shape) == (dtype, shape),
        )
    if isinstance(value, Mapping):
        return Exactly({key: _like(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return [_like(item) for item in value]
    if value is None or isinstance(value, bool):
        return Optional(FLAG)
    return FIGURE if isinstance(value, int | float) else TEXT
