"""DenseNet (Huang et al. 2016, arXiv:1608.06993) from torchvision."""

from functools import partial

from torch import nn
from torchvision.models import DenseNet

from imclass.config.schema import ModelConfig
from imclass.models.pretrained import torchvision_model
from imclass.models.stem import Builder, adapt_conv, resolve_stem


def _densenet(depth: int, config: ModelConfig, in_channels: int, classes: int, size: int) -> nn.Module:
    """(N, in_channels, size, size) -> (N, classes).

    imagenet stem: conv 7x7 stride 2 and max pool, features at size/32.
    cifar stem: conv 3x3 stride 1, features at size/8.
    """
    model = torchvision_model(f"densenet{depth}", config, classes)
    assert isinstance(model, DenseNet)
    features = model.features
    adapt = partial(
        adapt_conv,
        features.conv0,
        in_channels,
        keep_weights=config.pretrained,
        init=nn.init.kaiming_normal_,  # as torchvision's DenseNet
    )
    if resolve_stem(config, size) == "cifar":
        features.conv0 = adapt(kernel_size=3, stride=1, padding=1)
        features.pool0 = nn.Identity()
    else:
        features.conv0 = adapt()
    return model


MODELS: dict[str, Builder] = {f"densenet{depth}": partial(_densenet, depth) for depth in (121, 161, 169, 201)}
