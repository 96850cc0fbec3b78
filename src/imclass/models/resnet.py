"""ResNet (He et al. 2015, arXiv:1512.03385) from torchvision."""

from functools import partial

from torch import nn

from imclass.config.schema import ModelConfig
from imclass.models.pretrained import torchvision_model
from imclass.models.stem import Builder, adapt_stem

_init = partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu")  # as torchvision's ResNet


def _resnet(depth: int, config: ModelConfig, in_channels: int, classes: int, size: int) -> nn.Module:
    """(N, in_channels, size, size) -> (N, classes).

    imagenet stem: conv 7x7 stride 2 and max pool, features at size/32.
    cifar stem: conv 3x3 stride 1, features at size/8.
    """
    model = torchvision_model(f"resnet{depth}", config, classes)
    return adapt_stem(model, config, in_channels, size, conv="conv1", pools=["maxpool"], init=_init)


MODELS: dict[str, Builder] = {f"resnet{depth}": partial(_resnet, depth) for depth in (18, 34, 50, 101, 152)}
