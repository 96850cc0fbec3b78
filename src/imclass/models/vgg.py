"""VGG (Simonyan & Zisserman 2014, arXiv:1409.1556) from torchvision, with batch norm (vgg*_bn).

The paper's networks have no batch norm and do not train from scratch at usual learning rates, so
the plain names here mean the ones with it.
"""

from functools import partial

import torch
from torch import nn
from torchvision.models import VGG
from torchvision.models.vgg import cfgs, make_layers

from imclass.config.schema import ModelConfig
from imclass.models.pretrained import torchvision_model
from imclass.models.stem import Builder, adapt_stem, resolve_stem

_LAYOUT = {11: "A", 13: "B", 16: "D", 19: "E"}  # columns of the paper's table 1
_REDUCTION = 32  # by five 2x2 max pools
_init = partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu")  # as torchvision's VGG


def _vgg(depth: int, config: ModelConfig, in_channels: int, classes: int, size: int) -> nn.Module:
    """(N, in_channels, size, size) -> (N, classes); convolutions are 3x3 stride 1 for either stem.

    imagenet: head of 7x7 pooling and two 4096-wide layers. cifar: head of global average pooling,
    dropout and one linear layer. Below 32 pixels all pools round up, or the image would vanish.
    """
    if resolve_stem(config, size) == "cifar":
        model = _with_small_head(depth, config, classes)
    else:
        model = torchvision_model(f"vgg{depth}_bn", config, classes)
    assert isinstance(model, VGG)
    adapt_stem(model, config, in_channels, size, conv="features.0", pools=[], init=_init)
    for layer in model.features:
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = size < _REDUCTION
    return model


def _with_small_head(depth: int, config: ModelConfig, classes: int) -> nn.Module:
    if config.pretrained:
        model = torchvision_model(f"vgg{depth}_bn", config, classes)
    else:
        features = make_layers(cfgs[_LAYOUT[depth]], batch_norm=True)
        with torch.device("meta"):  # skip seconds of initialising a head that is replaced below
            model = VGG(features)
    model.avgpool = nn.AdaptiveAvgPool2d(1)
    linear = nn.Linear(512, classes)
    nn.init.normal_(linear.weight, 0, 0.01)
    nn.init.zeros_(linear.bias)
    model.classifier = nn.Sequential(nn.Dropout(0.5), linear)
    return model


MODELS: dict[str, Builder] = {f"vgg{depth}": partial(_vgg, depth) for depth in _LAYOUT}
