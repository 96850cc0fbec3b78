"""VGG (Simonyan & Zisserman 2014, arXiv:1409.1556) with batch norm, torchvision's vgg*_bn.

The paper's networks have no batch norm; they are torchvision's plain vgg*, which do not train
from scratch at usual rates, so the plain names here mean the networks with it.
"""

from functools import partial

import torch
from torch import nn
from torchvision.models import VGG
from torchvision.models.vgg import cfgs, make_layers

from imclass.config.schema import ModelConfig
from imclass.models.head import set_dropout
from imclass.models.pretrained import torchvision_model
from imclass.models.stem import Builder, adapt_conv, resolve_stem

_LAYOUT = {11: "A", 13: "B", 16: "D", 19: "E"}  # the columns of the paper's table 1
_REDUCTION = 32  # by five 2x2 max-pools
_init = partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu")  # as torchvision's VGG


def _vgg(depth: int, config: ModelConfig, in_channels: int, classes: int, size: int) -> nn.Module:
    """The convolutions are the same for both stems (3x3, stride 1); the heads differ.

    imagenet: 7x7 pooling and 4096-wide layers. cifar: global average pool, dropout, one linear
    layer. Images below 32 pixels would vanish in the last pool: all pools then round up.
    """
    if resolve_stem(config, size) == "cifar":
        model = _with_small_head(depth, config, classes)
    else:
        model = torchvision_model(f"vgg{depth}_bn", config, classes)
    assert isinstance(model, VGG)
    features = model.features
    assert isinstance(features, nn.Sequential)
    first = features[0]
    assert isinstance(first, nn.Conv2d)
    features[0] = adapt_conv(first, in_channels, keep_weights=config.pretrained, init=_init)
    for layer in features:
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = size < _REDUCTION
    set_dropout(model, config.dropout)
    return model


def _with_small_head(depth: int, config: ModelConfig, classes: int) -> nn.Module:
    if config.pretrained:
        model = torchvision_model(f"vgg{depth}_bn", config, classes)
    else:
        features = make_layers(cfgs[_LAYOUT[depth]], batch_norm=True)
        with torch.device("meta"):  # the wide head goes at once: do not pay seconds to initialise it
            model = VGG(features)
    model.avgpool = nn.AdaptiveAvgPool2d(1)
    linear = nn.Linear(512, classes)
    nn.init.normal_(linear.weight, 0, 0.01)
    nn.init.zeros_(linear.bias)
    model.classifier = nn.Sequential(nn.Dropout(0.5), linear)
    return model


MODELS: dict[str, Builder] = {f"vgg{depth}": partial(_vgg, depth) for depth in _LAYOUT}
