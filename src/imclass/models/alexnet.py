"""AlexNet (Krizhevsky 2014, arXiv:1404.5997) from torchvision."""

from torch import nn
from torchvision.models import AlexNet

from imclass.config.schema import ModelConfig
from imclass.models.pretrained import torchvision_model
from imclass.models.stem import Builder, adapt_stem, resolve_stem


def _alexnet(config: ModelConfig, in_channels: int, classes: int, size: int) -> nn.Module:
    """(N, in_channels, size, size) -> (N, classes).

    imagenet stem: conv 11x11 stride 4; head of two 4096-wide layers.
    cifar stem: conv 3x3 stride 1, no first max pool, features at size/4; head of global average
    pooling, dropout and one linear layer.
    """
    model = torchvision_model("alexnet", config, classes)
    assert isinstance(model, AlexNet)
    adapt_stem(model, config, in_channels, size, conv="features.0", pools=["features.2"])
    if resolve_stem(config, size) == "cifar":
        model.avgpool = nn.AdaptiveAvgPool2d(1)
        model.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(256, classes))
    return model


MODELS: dict[str, Builder] = {"alexnet": _alexnet}
