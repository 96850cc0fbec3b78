"""ResNet (He et al. 2015, arXiv:1512.03385) from torchvision."""

from functools import partial

from torch import nn
from torchvision.models import ResNet

from imclass.config.schema import ModelConfig
from imclass.models.pretrained import torchvision_model
from imclass.models.stem import Builder, adapt_conv, resolve_stem

_init = partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu")  # as torchvision's ResNet


def _resnet(depth: int, config: ModelConfig, in_channels: int, classes: int, size: int) -> nn.Module:
    """(N, in_channels, size, size) -> (N, classes).

    imagenet stem: conv 7x7 stride 2 and max pool, features at size/32.
    cifar stem: conv 3x3 stride 1, features at size/8.
    """
    model = torchvision_model(f"resnet{depth}", config, classes)
    assert isinstance(model, ResNet)
    adapt = partial(adapt_conv, model.conv1, in_channels, keep_weights=config.pretrained, init=_init)
    if resolve_stem(config, size) == "cifar":
        model.conv1 = adapt(kernel_size=3, stride=1, padding=1)
        model.maxpool = nn.Identity()
    else:
        model.conv1 = adapt()
    return model


MODELS: dict[str, Builder] = {f"resnet{depth}": partial(_resnet, depth) for depth in (18, 34, 50, 101, 152)}
