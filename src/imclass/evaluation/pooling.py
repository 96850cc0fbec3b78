"""Adaptive pooling in operations that every runtime has: ONNX knows none, and networks see one size only."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

KINDS: dict[type[nn.Module], Callable[..., Tensor]] = {
    nn.AdaptiveAvgPool2d: torch.mean,
    nn.AdaptiveMaxPool2d: torch.amax,
}


class PlainPool(nn.Module):
    """(N, C, H, W) -> (N, C, *size), as torch's adaptive pooling: cells may overlap, or repeat pixels."""

    def __init__(self, size: tuple[int | None, int | None], reduce: Callable[..., Tensor]):
        super().__init__()
        self.size, self.reduce = size, reduce

    def forward(self, features: Tensor) -> Tensor:
        for axis, out in zip((2, 3), self.size, strict=True):
            length = int(features.shape[axis])
            cells = (features.narrow(axis, *span) for span in _spans(length, out or length))
            features = torch.cat([self.reduce(cell, dim=axis, keepdim=True) for cell in cells], dim=axis)
        return features


def with_plain_pooling(model: nn.Module) -> nn.Module:
    """Return a copy of a model in which each adaptive pooling layer is a `PlainPool`."""
    model = copy.deepcopy(model)
    for name, layer in list(model.named_modules()):
        if type(layer) in KINDS:
            size = layer.output_size
            pair = (size, size) if isinstance(size, int) else tuple(size)
            model.set_submodule(name, PlainPool(pair, KINDS[type(layer)]))
    return model


def _spans(length: int, cells: int) -> list[tuple[int, int]]:
    """Return start and length of each cell of adaptive pooling."""
    starts = [cell * length // cells for cell in range(cells)]
    return [(start, -(-(cell + 1) * length // cells) - start) for cell, start in enumerate(starts)]
