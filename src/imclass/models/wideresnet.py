"""Wide residual networks for small images (Zagoruyko & Komodakis 2016, arXiv:1605.07146).

The name gives depth and widening factor: wideresnet28_10 is WRN-28-10. Written from the paper's table 1.
"""

from functools import partial

from torch import Tensor, nn

from imclass.config.schema import ModelConfig
from imclass.models.stem import Builder, reject_variants

STEM_WIDTH = 16
GROUP_WIDTHS = (16, 32, 64)  # times the widening factor


class PreActivationBlock(nn.Module):
    """(N, C, H, W) -> (N, out, H / stride, W / stride): norm, ReLU, 3x3 convolution, twice, plus the input.

    Where the shape changes, the input reaches the sum through its norm and ReLU and a 1x1 convolution.
    """

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        same = channels == out and stride == 1
        self.shortcut = None if same else nn.Conv2d(channels, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu(self.norm1(x))
        y = self.conv2(self.relu(self.norm2(self.conv1(activated))))
        result: Tensor = y + (x if self.shortcut is None else self.shortcut(activated))
        return result


def _group(channels: int, out: int, blocks: int, stride: int) -> nn.Sequential:
    first = PreActivationBlock(channels, out, stride)
    return nn.Sequential(first, *(PreActivationBlock(out, out, 1) for _ in range(blocks - 1)))


def _wideresnet(
    depth: int, factor: int, config: ModelConfig, in_channels: int, classes: int, size: int
) -> nn.Module:
    """(N, in_channels, size, size) -> (N, classes); features at size/4.

    depth: convolutions on the longest path but the shortcuts', 6 * blocks per group + 4.
    """
    reject_variants(config)
    blocks = (depth - 4) // 6
    widths = [factor * width for width in GROUP_WIDTHS]
    model = nn.Sequential()
    model.append(nn.Conv2d(in_channels, STEM_WIDTH, 3, padding=1, bias=False))
    for channels, out, stride in zip((STEM_WIDTH, *widths), widths, (1, 2, 2), strict=False):
        model.append(_group(channels, out, blocks, stride))
    model.append(nn.BatchNorm2d(widths[-1])).append(nn.ReLU(inplace=True))
    model.append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten()).append(nn.Linear(widths[-1], classes))
    _init(model)
    return model


def _init(model: nn.Module) -> None:
    """Kaiming's normal distribution by the outputs of each convolution, as the authors' code has it."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


MODELS: dict[str, Builder] = {
    "wideresnet28_10": partial(_wideresnet, 28, 10),
    "wideresnet40_4": partial(_wideresnet, 40, 4),
}
