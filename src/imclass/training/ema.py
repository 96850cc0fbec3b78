"""An exponential moving average of the weights, evaluated in their place (arXiv:1803.05407, section 3)."""

import itertools
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Ema:
    """`module` is what evaluation uses: the averaged model, or without a decay the model itself."""

    def __init__(self, model: nn.Module, decay: float | None):
        self._model = model
        self._average: AveragedModel | None = None
        if decay is not None:
            self._move = get_ema_multi_avg_fn(decay)
            self._average = AveragedModel(model, use_buffers=True)
            self._tensors = list(_by_type(self._average.module, model))

    @property
    def module(self) -> nn.Module:
        return self._model if self._average is None else self._average.module

    def update(self) -> None:
        """Move the average towards the model; once per optimizer step."""
        if self._average is None:
            return
        if not self._average.n_averaged:  # it takes over the model's values
            self._average.update_parameters(self._model)
            return
        for averaged, current in self._tensors:  # `update_parameters` would walk both models at each step
            self._move(averaged, current, self._average.n_averaged)
        self._average.n_averaged += 1

    def state_dict(self) -> dict[str, Any]:
        return {} if self._average is None else self._average.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._average is not None:
            self._average.load_state_dict(state)


def _by_type(averaged: nn.Module, model: nn.Module) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Yield parameters and buffers of both, in lists of one data type."""

    def tensors_of(module: nn.Module) -> list[Tensor]:
        return [tensor.detach() for tensor in itertools.chain(module.parameters(), module.buffers())]

    pairs = list(zip(tensors_of(averaged), tensors_of(model), strict=True))
    for dtype in dict.fromkeys(tensor.dtype for tensor, _ in pairs):
        own, others = zip(*(pair for pair in pairs if pair[0].dtype == dtype), strict=True)
        yield list(own), list(others)
