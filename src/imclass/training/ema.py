"""An exponential moving average of the weights, evaluated in their place (arXiv:1803.05407, section 3)."""

from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Ema:
    """`module` is what evaluation uses: the averaged model, or without a decay the model itself."""

    def __init__(self, model: nn.Module, decay: float | None):
        self._model = model
        self._average = (
            None
            if decay is None
            else AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
        )

    @property
    def module(self) -> nn.Module:
        return self._model if self._average is None else self._average.module

    def update(self) -> None:
        """Move the average towards the model; once per optimizer step."""
        if self._average is not None:
            self._average.update_parameters(self._model)

    def state_dict(self) -> dict[str, Any]:
        return {} if self._average is None else self._average.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._average is not None:
            self._average.load_state_dict(state)
