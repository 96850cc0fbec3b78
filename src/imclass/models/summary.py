"""Parameters, multiply-adds and output shapes of a model's layers."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from imclass.models.dry_run import meta_copy

Row = tuple[str, str, tuple[int, ...]]  # name, type, output shape of one image


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    parameters: int  # including frozen ones
    multiply_adds: int  # of convolutions and matrix products, per image


def describe(model: nn.Module, shape: tuple[int, int, int]) -> ModelDescription:
    """Count parameters, and multiply-adds for one image of `shape` (C, H, W), without computing anything."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return ModelDescription(parameters=parameters, multiply_adds=multiply_adds(model, shape).get("Global", 0))


def multiply_adds(model: nn.Module, shape: tuple[int, int, int]) -> dict[str, int]:
    """Return multiply-adds by module, summed over its calls, for one image of `shape` (C, H, W).

    Keys: `<model class>.<module name>`, and `Global` for the total.
    """
    with FlopCounterMode(display=False) as counter:
        meta_copy(model)(torch.empty(1, *shape, device="meta"))
    return {name: sum(by_kind.values()) // 2 for name, by_kind in counter.get_flop_counts().items()}


def layer_table(model: nn.Module, shape: tuple[int, int, int]) -> list[Row]:
    """List every call of every submodule in order, containers before their children.

    shape: (C, H, W) of an image. Output shapes exclude the batch dimension.
    """
    twin = meta_copy(model)
    rows: list[Row] = []
    open_calls: list[int] = []  # rows of the modules that have not returned yet

    def watch(name: str, module: nn.Module) -> None:
        def enter(module: nn.Module, inputs: Any) -> None:
            open_calls.append(len(rows))
            rows.append((name, type(module).__name__, ()))

        def leave(module: nn.Module, inputs: Any, output: Any) -> None:
            tensor = output if isinstance(output, Tensor) else output[0]
            rows[open_calls.pop()] = (name, type(module).__name__, tuple(tensor.shape[1:]))

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)

    for name, module in twin.named_modules():
        if name:
            watch(name, module)
    twin(torch.empty(1, *shape, device="meta"))
    return rows


def format_summary(model: nn.Module, shape: tuple[int, int, int]) -> str:
    """Format a table: layer (indented by depth), type, output shape, parameters, multiply-adds.

    A module's own parameters and its multiply-adds over all calls appear at its first call.
    """
    own = {name: _own_parameters(module) for name, module in model.named_modules()}
    work, root = multiply_adds(model, shape), type(model).__name__
    lines: list[tuple[str, ...]] = [
        ("layer", "type", "output", "parameters", "multiply-adds"),
        ("(image)", "", shape_text(shape), "", ""),
    ]
    for name, kind, output in layer_table(model, shape):
        counts = own.pop(name, 0), work.pop(f"{root}.{name}", 0)
        indented = "  " * name.count(".") + name.rpartition(".")[2]
        lines.append(
            (indented, kind, shape_text(output), *(f"{count:,}" if count else "" for count in counts))
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = [f"{{:<{widths[0]}}}", f"{{:<{widths[1]}}}", *(f"{{:>{width}}}" for width in widths[2:])]
    table = ["  ".join(aligned).format(*line).rstrip() for line in lines]
    total = describe(model, shape)
    footer = f"{total.parameters:,} parameters, {total.multiply_adds:,} multiply-adds per image"
    return "\n".join([*table, footer])


def shape_text(shape: tuple[int, ...]) -> str:
    """(64, 112, 112) -> 64x112x112."""
    return "x".join(map(str, shape))


def _own_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))
