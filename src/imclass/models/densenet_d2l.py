"""Small DenseNet (arXiv:1608.06993) of "Dive into Deep Learning": four blocks of four layers."""

import torch
from torch import Tensor, nn

from imclass.config.schema import ModelConfig
from imclass.models.resnet_d2l import stem
from imclass.models.stem import Builder, reject_variants

GROWTH, BLOCKS, LAYERS = 32, 4, 4


class DenseBlock(nn.Module):
    """(N, C, H, W) -> (N, C + LAYERS * GROWTH, H, W); each layer's input is all previous outputs."""

    def __init__(self, channels: int):
        super().__init__()
        inputs = range(channels, channels + LAYERS * GROWTH, GROWTH)
        self.layers = nn.ModuleList(_norm_relu_conv(width, GROWTH, kernel=3) for width in inputs)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return x


def _norm_relu_conv(channels: int, out: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, out, kernel, padding=kernel // 2)
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True), conv)


def _transition(channels: int) -> nn.Sequential:
    # ceil_mode changes nothing at the tutorial's 96x96 and keeps 28x28 images from vanishing.
    pool = nn.AvgPool2d(2, ceil_mode=True)
    return nn.Sequential(*_norm_relu_conv(channels, channels // 2, kernel=1), pool)


def _densenet_d2l(config: ModelConfig, in_channels: int, classes: int, size: int) -> nn.Module:
    """(N, in_channels, size, size) -> (N, classes); features at size/32."""
    reject_variants(config)
    layers, channels = stem(in_channels), 64
    for number in range(1, BLOCKS + 1):
        layers[f"block{number}"] = DenseBlock(channels)
        channels += LAYERS * GROWTH
        if number < BLOCKS:
            layers[f"transition{number}"] = _transition(channels)
            channels //= 2
    layers["last_norm"] = nn.BatchNorm2d(channels)
    layers["last_relu"] = nn.ReLU(inplace=True)
    layers["average"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels, classes)
    return nn.Sequential(layers)


MODELS: dict[str, Builder] = {"densenet_d2l": _densenet_d2l}
