"""Is an optimizer's part of a checkpoint one that training can resume with, as far as its weights show?

Resuming compares it with the optimizer of the run, tensor by tensor; that takes the model.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from imclass.runs.record_schema import COUNT, NUMBER, Entry, Listed, problem_of

STATE = Entry("an object", lambda value: isinstance(value, Mapping))
GROUP = {"params": Listed(COUNT), "lr": NUMBER, "initial_lr": NUMBER, "weight_decay": NUMBER}


def problem_of_optimizer(
    saved: Mapping[str, Any], weights: Mapping[str, Tensor], *, shipped: bool
) -> str | None:
    """Return the first problem with an optimizer's `state_dict`, or None.

    weights: those of the model. shipped: whether imclass brings this optimizer; of a plug-in's it is not
    known that its groups have a weight decay, and that what it keeps for a weight has the weight's shape.
    """
    group = GROUP if shipped else {"params": GROUP["params"]}
    problem = problem_of(saved, {"state": STATE, "param_groups": Listed(group)}, "optimizer")
    return problem or next(_problems(saved["state"], saved["param_groups"], weights, shipped), None)


def _problems(
    state: Mapping[Any, Any], groups: list[dict[str, Any]], weights: Mapping[str, Tensor], shipped: bool
) -> Iterator[str]:
    numbers = [number for group in groups for number in group["params"]]
    if sorted(numbers) != list(range(len(numbers))) or not numbers:
        yield "optimizer.param_groups: expected the numbers 0, 1, 2 ... of parameters, each once"
    if len(numbers) > len(weights):
        yield f"optimizer.param_groups: {len(numbers)} parameters, of a model of {len(weights)} tensors"
    if unknown := [number for number in state if number not in numbers]:
        yield f"optimizer.state: of parameter {unknown[0]}, which param_groups lack"
    for group in groups:  # a layer that was not used so far has no state
        kept = [state[number] for number in group["params"] if number in state]
        names = {frozenset(entry) if isinstance(entry, Mapping) else None for entry in kept}
        if None in names or len(names) > 1:
            yield "optimizer.state: expected the same entries for all parameters of a group"
            return
    if shipped:
        yield from _odd_shapes(state, weights)


def _odd_shapes(state: Mapping[int, Mapping[str, Any]], weights: Mapping[str, Tensor]) -> Iterator[str]:
    """Each parameter's tensors, but for counts of steps, have one shape; as many weights have it."""
    left = Counter(tensor.shape for tensor in weights.values())
    for number, entry in state.items():
        shapes = {value.shape for value in entry.values() if isinstance(value, Tensor) and value.ndim}
        if len(shapes) > 1:
            yield f"optimizer.state.{number}: tensors of different shapes"
        left.subtract(shapes)
    if odd := [list(shape) for shape, count in left.items() if count < 0]:
        yield f"optimizer.state: {odd[0]} is the shape of none of the weights that are left"
