"""VGG-like network (arXiv:1409.1556) of a TensorFlow tutorial: ten convolutions, no batch norm."""

from collections import OrderedDict
from math import ceil

from torch import nn

from imclass.config.schema import ModelConfig
from imclass.models.stem import Builder, reject_variants

WIDTHS = (64, 128, 256, 512, 512)  # two convolutions each, then max pooling


def _vgg10_keras(config: ModelConfig, in_channels: int, classes: int, size: int) -> nn.Module:
    """(N, in_channels, size, size) -> (N, classes).

    Features are 512x1x1 at 32x32. Larger ones are flattened whole, so the first dense layer grows.
    """
    reject_variants(config)
    features: OrderedDict[str, nn.Module] = OrderedDict()
    channels, side = in_channels, size
    for number, width in enumerate(WIDTHS, start=1):
        features[f"conv{number}a"] = nn.Conv2d(channels, width, 3, padding=1)
        features[f"relu{number}a"] = nn.ReLU(inplace=True)
        features[f"conv{number}b"] = nn.Conv2d(width, width, 3, padding=1)
        features[f"relu{number}b"] = nn.ReLU(inplace=True)
        # ceil_mode changes nothing at the tutorial's 32x32 and keeps 28x28 images from vanishing.
        features[f"pool{number}"] = nn.MaxPool2d(2, ceil_mode=True)
        channels, side = width, ceil(side / 2)
    features["flatten"] = nn.Flatten()
    classifier = nn.Sequential(
        nn.Linear(channels * side * side, 256),
        nn.ReLU(inplace=True),
        nn.Linear(256, 128),
        nn.ReLU(inplace=True),
        nn.Linear(128, classes),
    )
    model = nn.Sequential(OrderedDict(features=nn.Sequential(features), classifier=classifier))
    model.apply(_init_as_keras)
    return model


def _init_as_keras(module: nn.Module) -> None:
    """Keras' default: Glorot uniform weights, zero biases."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


MODELS: dict[str, Builder] = {"vgg10_keras": _vgg10_keras}
