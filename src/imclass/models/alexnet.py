"""AlexNet (Krizhevsky 2014, arXiv:1404.5997) from torchvision."""

from torch import nn
from torchvision.models import AlexNet

from imclass.config.schema import ModelConfig
from imclass.models.pretrained import torchvision_model
from imclass.models.stem import Builder, adapt_conv, resolve_stem


def _alexnet(config: ModelConfig, in_channels: int, classes: int, size: int) -> nn.Module:
    """(N, in_channels, size, size) -> (N, classes).

    imagenet stem: conv 11x11 stride 4; head of two 4096-wide layers.
    cifar stem: conv 3x3 stride 1, no first max pool, features at size/4; head of global average
    pooling, dropout and one linear layer.
    """
    model = torchvision_model("alexnet", config, classes)
    assert isinstance(model, AlexNet)
    features = model.features
    first = features[0]
    assert isinstance(first, nn.Conv2d)
    if resolve_stem(config, size) == "cifar":
        features[0] = adapt_conv(first, in_channels, kernel_size=3, stride=1, padding=1)
        features[2] = nn.Identity()
        model.avgpool = nn.AdaptiveAvgPool2d(1)
        model.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(256, classes))
    else:
        features[0] = adapt_conv(first, in_channels, keep_weights=config.pretrained)
    return model


MODELS: dict[str, Builder] = {"alexnet": _alexnet}
