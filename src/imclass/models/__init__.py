"""Models by name: ours, those of other packages, torchvision's, timm's.

A package adds a model through the entry point group "imclass.models". Its function is called as ours are,
`build(config, in_channels, classes, size)`, and returns a module on the CPU that turns images of shape
(N, in_channels, size, size) into logits of shape (N, classes). In its pyproject.toml:

    [project.entry-points."imclass.models"]
    mine = "my_package:build"
"""

import dataclasses
from typing import Protocol, runtime_checkable

from torch import Tensor, nn
from torchvision.models import GoogLeNet, Inception3

from imclass.config.groups import component, plugins
from imclass.config.model_names import TIMM
from imclass.config.schema import ModelConfig
from imclass.models import (
    alexnet,
    densenet,
    densenet_d2l,
    googlenet,
    lenet,
    resnet,
    resnet_d2l,
    speednet,
    vgg,
    vgg_keras,
    wideresnet,
)
from imclass.models.dry_run import check_fits
from imclass.models.from_timm import build_timm
from imclass.models.generic import build_generic, torchvision_names
from imclass.models.head import set_dropout
from imclass.models.pretrained import uses_imagenet_input
from imclass.models.stem import Builder, resolve_stem

MODELS: dict[str, Builder] = {
    **resnet.MODELS,
    **vgg.MODELS,
    **densenet.MODELS,
    **speednet.MODELS,
    **lenet.MODELS,
    **alexnet.MODELS,
    **googlenet.MODELS,
    **resnet_d2l.MODELS,
    **densenet_d2l.MODELS,
    **vgg_keras.MODELS,
    **wideresnet.MODELS,
}


@runtime_checkable
class InitFromImages(Protocol):
    """A model whose initial weights depend on the data; called once, before a training from scratch."""

    def init_from(self, images: Tensor) -> None:
        """Set weights by unaugmented training images: float32 (N, C, H, W), normalised, on the CPU."""


def build_model(config: ModelConfig, *, in_channels: int, classes: int, size: int) -> nn.Module:
    """Return the model that `config` names: (N, in_channels, size, size) -> (N, classes) logits.

    On the CPU, in training mode. Raises UserError for a model that cannot take such images.
    Does not read `config.weights`: see `transfer`.
    """
    model = _find_builder(config.name)(config, in_channels, classes, size)
    if not (_is_plugin(config.name) or config.name.startswith(TIMM)):  # these read model.dropout themselves
        set_dropout(model, config.dropout)
    check_fits(model, config.name, (in_channels, size, size), classes)
    return model


def build_trained_model(config: ModelConfig, *, in_channels: int, classes: int, size: int) -> nn.Module:
    """Return build_model's result for weights that are loaded next, without fetching ImageNet's."""
    if not config.pretrained or _is_plugin(config.name):
        return build_model(config, in_channels=in_channels, classes=classes, size=size)
    fresh = dataclasses.replace(config, pretrained=False, stem=resolve_stem(config, size))
    model = build_model(fresh, in_channels=in_channels, classes=classes, size=size)
    if isinstance(model, GoogLeNet | Inception3):
        # not in the state dict
        model.transform_input = uses_imagenet_input(config, in_channels)
    return model


def _is_plugin(name: str) -> bool:
    return name not in MODELS and name in plugins("model")


def _find_builder(name: str) -> Builder:
    if name.startswith(TIMM):
        return build_timm
    if name not in MODELS and not _is_plugin(name) and name in torchvision_names():
        return build_generic
    return component("model", name, MODELS, nn.Module)
