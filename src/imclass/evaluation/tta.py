"""Test-time augmentation: a model's mean prediction over several views of each image."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

CHOICES = ("none", "flip", "flip_shift")


class TestTimeAugmentation(nn.Module):
    """Averages a model's class probabilities over views of the image (Krizhevsky et al. 2012, section 4.1).

    flip: the image and its mirror image. flip_shift: these two, each also moved by one pixel up-left and
    down-right (arXiv:2404.00498, section 3.5); the rows and columns at the edge are repeated.
    (N, C, H, W) -> (N, classes): logarithms of probabilities, which serve as logits.
    """

    __test__ = False  # its name begins like a test's

    def __init__(self, model: nn.Module, choice: str):
        super().__init__()
        assert choice in CHOICES
        self.model, self.choice = model, choice

    def forward(self, images: Tensor) -> Tensor:
        views = _views(images, self.choice)
        logs = torch.stack([self.model(view).float().log_softmax(dim=1) for view in views])
        return logs.logsumexp(dim=0) - math.log(len(views))


def with_tta(model: nn.Module, choice: str) -> nn.Module:
    """Return `model` itself for "none", else `model` averaged over the views of `choice`."""
    return model if choice == "none" else TestTimeAugmentation(model, choice)


def _views(images: Tensor, choice: str) -> list[Tensor]:
    height, width = images.shape[2:]
    shifts = [(1, 1)]
    if choice == "flip_shift":
        shifts += [(0, 0), (2, 2)]
    padded = pad(images, [1] * 4, "replicate")
    moved = [padded[:, :, y : y + height, x : x + width] for y, x in shifts]
    moved = [m.contiguous(memory_format=_format(images)) for m in moved]
    return [view for m in moved for view in (m, m.flip(3))]


def _format(images: Tensor) -> torch.memory_format:
    last = images.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
