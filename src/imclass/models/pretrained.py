"""torchvision's networks, fresh or with their ImageNet weights."""

from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any

import torch
import torchvision
from torch import nn

from imclass.config.schema import ModelConfig
from imclass.errors import UserError
from imclass.models.head import replace_head


def torchvision_model(name: str, config: ModelConfig, classes: int, **options: Any) -> nn.Module:
    """Return torchvision's `name`, which ends in `classes` outputs.

    options: for torchvision, of a fresh network only. With pretrained weights everything is
    loaded as torchvision loads it, and then the head is replaced: a fresh one, even if the
    number of classes is the same, because the classes are others.
    """
    if not config.pretrained:
        fresh: nn.Module = torchvision.models.get_model(name, num_classes=classes, **options)
        return fresh
    model = _with_default_weights(name)
    replace_head(model, classes)
    return model


def uses_imagenet_input(config: ModelConfig, in_channels: int) -> bool:
    """Tell whether googlenet or inception_v3 must convert its input to the means it was pretrained on."""
    return config.pretrained and in_channels == 3  # torchvision converts RGB only


def reject_pretrained(config: ModelConfig) -> None:
    """Reject pretrained weights for a network that has none."""
    if config.pretrained:
        raise UserError(
            f"model.pretrained=true: {config.name} has no pretrained weights; your own: model.weights=FILE"
        )


def _with_default_weights(name: str) -> nn.Module:
    """Return `name` with its weights, read from torch's cache or downloaded to it."""
    url = torchvision.models.get_model_weights(name).DEFAULT.url
    file = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(url).name
    try:
        model: nn.Module = torchvision.models.get_model(name, weights="DEFAULT")
    except (OSError, HTTPException) as error:  # URLError is an OSError
        raise UserError(
            f"model.pretrained=true: cannot download {url} ({_first_line(error)}); "
            f"put the file {file.name} into {file.parent}"
        ) from error
    except Exception as error:  # pickle, zip and torch each have their own for a damaged file
        raise UserError(
            f"model.pretrained=true: cannot read {file} ({_first_line(error)}); delete it and try again"
        ) from error
    return model


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
