"""ResNet-18 (arXiv:1512.03385) of "Dive into Deep Learning": conv biases, no norm on shortcuts."""

from collections import OrderedDict

from torch import Tensor, nn

from imclass.config.schema import ModelConfig
from imclass.models.stem import Builder, reject_variants


class Residual(nn.Module):
    """(N, C, H, W) -> (N, out, H / stride, W / stride): two 3x3 convolutions plus their input."""

    def __init__(self, channels: int, out: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        same = channels == out and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        result: Tensor = self.relu(y + self.shortcut(x))
        return result


def stem(in_channels: int) -> "OrderedDict[str, nn.Module]":
    """(N, C, H, W) -> (N, 64, H / 4, W / 4): conv 7x7 stride 2, norm, ReLU, max pool."""
    return OrderedDict(
        conv=nn.Conv2d(in_channels, 64, 7, stride=2, padding=3),
        norm=nn.BatchNorm2d(64),
        relu=nn.ReLU(inplace=True),
        pool=nn.MaxPool2d(3, stride=2, padding=1),
    )


def _resnet18_d2l(config: ModelConfig, in_channels: int, classes: int, size: int) -> nn.Module:
    """(N, in_channels, size, size) -> (N, classes); features at size/32."""
    reject_variants(config)
    layers = stem(in_channels)
    layers["stage1"] = nn.Sequential(Residual(64, 64), Residual(64, 64))
    for number, width in enumerate((128, 256, 512), start=2):
        blocks = Residual(width // 2, width, stride=2), Residual(width, width)
        layers[f"stage{number}"] = nn.Sequential(*blocks)
    layers["average"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(512, classes)
    return nn.Sequential(layers)


MODELS: dict[str, Builder] = {"resnet18_d2l": _resnet18_d2l}
