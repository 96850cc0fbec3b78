"""torchvision's networks, randomly initialised or with ImageNet weights."""

from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any

import torch
import torchvision
from torch import nn

from imclass.config.schema import ModelConfig
from imclass.errors import UserError, first_line
from imclass.models.head import replace_head


def torchvision_model(name: str, config: ModelConfig, classes: int, **options: Any) -> nn.Module:
    """Return torchvision's `name` with `classes` outputs.

    options: passed to torchvision, without pretrained weights only. Pretrained networks are loaded
    as torchvision loads them and always get a new head: even 1,000 classes are not ImageNet's.
    """
    if not config.pretrained:
        fresh: nn.Module = torchvision.models.get_model(name, num_classes=classes, **options)
        return fresh
    model = _with_default_weights(name)
    replace_head(model, classes)
    return model


def uses_imagenet_input(config: ModelConfig, in_channels: int) -> bool:
    """Return whether googlenet or inception_v3 must renormalise its input as in pretraining."""
    return config.pretrained and in_channels == 3  # torchvision renormalises RGB only


def _with_default_weights(name: str) -> nn.Module:
    """Return `name` with its weights, from torch's cache or downloaded into it."""
    url = torchvision.models.get_model_weights(name).DEFAULT.url
    file = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(url).name
    try:
        model: nn.Module = torchvision.models.get_model(name, weights="DEFAULT")
    except (OSError, HTTPException) as error:  # URLError is an OSError
        raise UserError(
            f"model.pretrained=true: cannot download {url} ({first_line(error)}); "
            f"put the file {file.name} into {file.parent}"
        ) from error
    except Exception as error:  # pickle, zipfile and torch raise different ones for a damaged file
        raise UserError(
            f"model.pretrained=true: cannot read {file} ({first_line(error)}); delete it and try again"
        ) from error
    return model
