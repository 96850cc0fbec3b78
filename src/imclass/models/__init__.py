"""Models by name: ours, other packages' (entry point group "imclass.models"), torchvision's."""

import dataclasses
from importlib.metadata import EntryPoint, entry_points

from torch import nn
from torchvision.models import GoogLeNet, Inception3

from imclass.config.schema import ModelConfig
from imclass.errors import UserError, did_you_mean
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
)
from imclass.models.dry_run import check_fits
from imclass.models.generic import build_generic, torchvision_names
from imclass.models.head import set_dropout
from imclass.models.pretrained import uses_imagenet_input
from imclass.models.stem import Builder, resolve_stem

ENTRY_POINTS = "imclass.models"

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
}


def build_model(config: ModelConfig, *, in_channels: int, classes: int, size: int) -> nn.Module:
    """Return the model that `config` names: (N, in_channels, size, size) -> (N, classes) logits.

    On the CPU, in training mode. Raises UserError for a model that cannot take such images.
    Does not read `config.weights`: see read_weights, load_weights.
    """
    model = _find_builder(config.name)(config, in_channels, classes, size)
    if _plugin(config.name) is None:
        set_dropout(model, config.dropout)
    check_fits(model, config.name, (in_channels, size, size), classes)
    return model


def build_trained_model(config: ModelConfig, *, in_channels: int, classes: int, size: int) -> nn.Module:
    """Return build_model's result for weights that are loaded next, without fetching ImageNet's."""
    if not config.pretrained or _plugin(config.name):
        return build_model(config, in_channels=in_channels, classes=classes, size=size)
    fresh = dataclasses.replace(config, pretrained=False, stem=resolve_stem(config, size))
    model = build_model(fresh, in_channels=in_channels, classes=classes, size=size)
    if isinstance(model, GoogLeNet | Inception3):
        # not in the state dict
        model.transform_input = uses_imagenet_input(config, in_channels)
    return model


def known_models() -> list[str]:
    """Return every valid `model.name` in lookup order."""
    names = [*MODELS, *(point.name for point in _plugins()), *torchvision_names()]
    return list(dict.fromkeys(names))


def _find_builder(name: str) -> Builder:
    if name in MODELS:
        return MODELS[name]
    if point := _plugin(name):
        return _load(point)
    if name in torchvision_names():
        return build_generic
    known = known_models()
    raise UserError(
        f"model.name={name} is not a known model{did_you_mean(name, known)} (`imclass list models` shows all)"
    )


def _plugins() -> list[EntryPoint]:
    return list(entry_points(group=ENTRY_POINTS))


def _plugin(name: str) -> EntryPoint | None:
    return next((p for p in _plugins() if p.name == name and name not in MODELS), None)


def _load(point: EntryPoint) -> Builder:
    try:
        builder: Builder = point.load()
    except Exception as error:  # whatever importing somebody's package raises
        raise UserError(f"model.name={point.name}: cannot import {point.value} ({error})") from error
    return builder
