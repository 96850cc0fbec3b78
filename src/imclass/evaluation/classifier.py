"""A network with its preprocessing: pictures of any size in, probabilities out. This is what is exported."""

import torch
from torch import Tensor, nn

from imclass.config.schema import DatasetConfig
from imclass.data.dataset import side_with_margin
from imclass.evaluation.resampling import fit_as_pillow, fit_as_torch, to_grey


class Classifier(nn.Module):
    """uint8 (N, height, width, channels) of any size -> float32 (N, classes), rows of sum 1.

    Pixels are RGB where the network sees 1 or 3 channels. They are cropped to the largest centre of the right
    shape and resized as those of the data set `config`: see `read_picture`.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        network: nn.Module,
        config: DatasetConfig,
        shape: tuple[int, int, int],
        mean: list[float],
        std: list[float],
    ):
        super().__init__()
        self.network, self.size = network, shape[1:]
        self.grey = shape[0] == 1
        self.channels = 3 if self.grey else shape[0]  # of the input
        folder = config.name == "image_folder"
        self.stored = side_with_margin(shape[1], config.centre) if folder else None
        self.seen = round(self.stored * config.centre) if self.stored else None
        scale, shift = 1 / (255 * torch.tensor(std)), -torch.tensor(mean) / torch.tensor(std)
        self.register_buffer("scale", scale[:, None, None])
        self.register_buffer("shift", shift[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        pixels = self.preprocess(images).float() * self.scale + self.shift
        logits: Tensor = self.network(pixels)
        return logits.float().softmax(dim=1)

    def preprocess(self, images: Tensor) -> Tensor:
        """Return float64 pixels (N, C, H, W) with whole values from 0 to 255, as the network sees them."""
        pixels = images.permute(0, 3, 1, 2).double()
        pixels = to_grey(pixels) if self.grey else pixels
        if self.stored is None or self.seen is None:
            return fit_as_torch(pixels, self.size)
        pixels = fit_as_pillow(pixels, self.stored)
        start = round((self.stored - self.seen) / 2)
        pixels = pixels[:, :, start : start + self.seen, start : start + self.seen]
        return pixels if (self.seen, self.seen) == self.size else fit_as_torch(pixels, self.size)
