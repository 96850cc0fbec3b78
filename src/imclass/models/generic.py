"""Any other torchvision classification model, as torchvision builds it."""

from typing import Any

import torchvision
from torch import nn

from imclass.config.schema import ModelConfig
from imclass.errors import UserError
from imclass.models.pretrained import torchvision_model, uses_imagenet_input
from imclass.models.stem import adapt_conv, first_conv

# The default truncated normal is slow to draw, and batch norm undoes its scale anyway.
_OPTIONS: dict[str, dict[str, Any]] = {"inception_v3": {"aux_logits": False, "init_weights": False}}


def torchvision_names() -> list[str]:
    """Return the names of torchvision's classification models."""
    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def build_generic(config: ModelConfig, in_channels: int, classes: int, size: int) -> nn.Module:
    """(N, in_channels, size, size) -> (N, classes) by torchvision's `config.name` with its own stem."""
    if config.stem == "cifar":
        raise UserError(
            f"model.stem=cifar: {config.name} has only its own stem; use model.stem=auto, dataset.resize=224"
        )
    model = torchvision_model(config.name, config, classes, **_OPTIONS.get(config.name, {}))
    if hasattr(model, "AuxLogits"):  # inception_v3's auxiliary head, built for pretrained weights
        options = {
            "aux_logits": False,
            "AuxLogits": None,
            "transform_input": uses_imagenet_input(config, in_channels),
        }
        for name, value in options.items():
            setattr(model, name, value)
    adapt_conv(model, first_conv(model), in_channels, keep_weights=config.pretrained)
    return model
