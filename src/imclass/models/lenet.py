"""LeNet-5 (LeCun et al. 1998, doi:10.1109/5.726791) with ReLU and max-pooling in place of its sigmoids."""

from collections import OrderedDict

from torch import nn

from imclass.config.schema import ModelConfig
from imclass.models.stem import Builder, reject_variants


def _lenet(config: ModelConfig, in_channels: int, classes: int, size: int) -> nn.Module:
    """(N, in_channels, size, size) -> (N, classes).

    At 28x28 the feature shapes are the paper's: 6x28x28, 6x14x14, 16x10x10, 16x5x5, 120, 84.
    Other sizes are pooled to 5x5.
    """
    reject_variants(config)
    features = nn.Sequential(
        nn.Conv2d(in_channels, 6, 5, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(inplace=True),
        nn.AdaptiveMaxPool2d(5),  # at 28x28 equal to the paper's 2x2 pooling
        nn.Flatten(),
    )
    classifier = nn.Sequential(
        nn.Linear(16 * 5 * 5, 120),
        nn.ReLU(inplace=True),
        nn.Linear(120, 84),
        nn.ReLU(inplace=True),
        nn.Linear(84, classes),
    )
    return nn.Sequential(OrderedDict(features=features, classifier=classifier))


MODELS: dict[str, Builder] = {"lenet": _lenet}
