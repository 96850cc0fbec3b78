"""DenseNet (Huang et al. 2016, arXiv:1608.06993) from torchvision."""

from functools import partial

from torch import nn

from imclass.config.schema import ModelConfig
from imclass.models.pretrained import torchvision_model
from imclass.models.stem import Builder, adapt_stem


def _densenet(depth: int, config: ModelConfig, in_channels: int, classes: int, size: int) -> nn.Module:
    """(N, in_channels, size, size) -> (N, classes).

    imagenet stem: conv 7x7 stride 2 and max pool, features at size/32.
    cifar stem: conv 3x3 stride 1, features at size/8.
    """
    model = torchvision_model(f"densenet{depth}", config, classes)
    init = nn.init.kaiming_normal_  # as torchvision's DenseNet
    conv, pools = "features.conv0", ["features.pool0"]
    return adapt_stem(model, config, in_channels, size, conv=conv, pools=pools, init=init)


MODELS: dict[str, Builder] = {f"densenet{depth}": partial(_densenet, depth) for depth in (121, 161, 169, 201)}
