"""Small wide network for CIFAR-10 ("94% on CIFAR-10 in 3.29 seconds", Jordan 2024, arXiv:2404.00498).

Written from the paper's description.
"""

import torch
from torch import Tensor, nn

from imclass.config.schema import ModelConfig
from imclass.models.stem import Builder, reject_variants

WIDTHS = (64, 256, 256)
OUTPUT_SCALE = 1 / 9  # max-pooled features are large, and so would be the first logits
WHITENING_EPSILON = 5e-4  # added to the patches' variances, which are near 0 for the finest patterns


class SpeedNet(nn.Module):
    """(N, C, H, W) -> (N, classes) for H, W >= 9: 2x2 conv, three blocks, global max pool, linear.

    The first layer is not trained; `init_from` makes its filters whiten the patches of the data.
    """

    def __init__(self, in_channels: int, classes: int):
        super().__init__()
        patch = in_channels * 2 * 2
        self.whiten = nn.Conv2d(in_channels, 2 * patch, 2)  # each filter and its negative
        self.whiten.requires_grad_(False)
        self.activation = nn.GELU()
        channels = (2 * patch, *WIDTHS)
        self.blocks = nn.Sequential(*map(_block, channels, WIDTHS))
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.head = nn.Linear(WIDTHS[-1], classes, bias=False)
        _init(self)

    def forward(self, images: Tensor) -> Tensor:
        features = self.blocks(self.activation(self.whiten(images)))  # (N, 256, 3, 3) from 32x32
        logits: Tensor = self.head(self.pool(features).flatten(1))
        return logits * OUTPUT_SCALE

    @torch.no_grad()
    def init_from(self, images: Tensor) -> None:
        """Set the first layer's filters so that their outputs on such images are white (section 3.2).

        images: float32 (N, C, H, W), normalised. The filters are the eigenvectors of the covariance of
        2x2 patches, each divided by the root of its eigenvalue.
        """
        sums, count = torch.zeros(()), 0
        for part in images.double().split(64):  # patches are four times the images
            patches = nn.functional.unfold(part, 2).movedim(1, 2).flatten(0, 1)
            sums, count = sums + patches.T @ patches, count + len(patches)
        values, vectors = torch.linalg.eigh(sums / count)
        filters = (vectors / (values + WHITENING_EPSILON).sqrt()).T.flip(0)  # the coarsest pattern first
        filters = filters.view(-1, *self.whiten.weight.shape[1:]).float()
        self.whiten.weight.copy_(torch.cat([filters, -filters]))


class ConvToPool(nn.Conv2d):
    """A 3x3 convolution before a 2x2 pooling, which drops the last row and column of an odd size.

    Those are not computed: that is a tenth of the network's work for 32x32 images.
    """

    def forward(self, images: Tensor) -> Tensor:
        odd_rows, odd_columns = (side % 2 for side in images.shape[2:])
        if not odd_rows and not odd_columns:
            return super().forward(images)
        padded = nn.functional.pad(images, (1, 1 - odd_columns, 1, 1 - odd_rows))
        return nn.functional.conv2d(padded, self.weight)


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        ConvToPool(channels_in, channels_out, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        _norm(channels_out),
        nn.GELU(),
        nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
        _norm(channels_out),
        nn.GELU(),
    )


def _norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm without a trained scale; high momentum, since runs last ten epochs."""
    norm = nn.BatchNorm2d(channels, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm


@torch.no_grad()
def _init(model: SpeedNet) -> None:
    """Start the first layer as a basis of patches, the others as the identity (section 3.3)."""
    patch = model.whiten.out_channels // 2
    basis = nn.init.orthogonal_(torch.empty(patch, patch)).view(patch, -1, 2, 2)
    model.whiten.weight.copy_(torch.cat([basis, -basis]))
    nn.init.zeros_(model.whiten.bias)  # type: ignore[arg-type]
    for module in model.blocks.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight[: module.in_channels])


def _speednet(config: ModelConfig, in_channels: int, classes: int, size: int) -> nn.Module:
    reject_variants(config)
    return SpeedNet(in_channels, classes)


MODELS: dict[str, Builder] = {"speednet": _speednet}
