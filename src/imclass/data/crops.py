"""Crops and flips of a batch: each a function that draws, and one that applies what was drawn."""

from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from imclass.data.draws import draw_fractions, draw_integers
from imclass.machine.device import copy_to

Padding = Literal["zeros", "reflect"]
ATTEMPTS = 10  # boxes drawn for an image before it gets the fallback, as in torchvision
AT_ONCE = 32  # images resized at once: in float32 they take four times their memory


def random_crop(images: Tensor, padding: int, mode: Padding, generator: torch.Generator) -> Tensor:
    """Pad and cut back to size at a random place, one per image.

    images: uint8 or float, (N, C, H, W). padding: pixels on every side; with reflect below min(H, W).
    """
    corners = draw_integers(2 * padding + 1, (2, len(images)), generator)
    top, left = copy_to(corners, images.device)
    return crop(images, padding, top, left, mode)


def crop(images: Tensor, padding: int, top: Tensor, left: Tensor, mode: Padding = "zeros") -> Tensor:
    """Cut a window of the images' own size out of each padded image.

    images: uint8 or float, (N, C, H, W). top, left: int64, (N,), the window's corner in the padded
    image, 0..2 * padding; equal to padding, they leave the image as it was. mode: zeros around the image, or
    its reflection without repeating the edge.
    """
    n, channels, height, width = images.shape
    if mode == "zeros":
        padded = torch.nn.functional.pad(images, [padding] * 4)
    else:
        padded = _reflect(_reflect(images, padding, 3), padding, 2)
    # Each row of a window is a slice of memory, which is copied several times faster than pixels by index.
    device, (high, wide) = images.device, padded.shape[2:]
    plane = torch.arange(n * channels, device=device).view(n, channels, 1)
    line = plane * high + top[:, None, None] + torch.arange(height, device=device)
    start = (line * wide + left[:, None, None]).flatten()
    return padded.flatten().unfold(0, width, 1).index_select(0, start).view(images.shape)


def _reflect(images: Tensor, padding: int, dim: int) -> Tensor:
    """Pad one dimension by reflection; torch's own has no kernel for bytes."""
    before = images.narrow(dim, 1, padding)
    after = images.narrow(dim, images.shape[dim] - 1 - padding, padding)
    return torch.cat((before.flip(dim), images, after.flip(dim)), dim)


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability 1/2. images: uint8 or float, (N, C, H, W)."""
    mask = draw_integers(2, (len(images),), generator).bool()
    return flip(images, copy_to(mask, images.device))


def flip(images: Tensor, mask: Tensor) -> Tensor:
    """Mirror left to right where mask is true. images: (N, C, H, W). mask: bool, (N,)."""
    both = torch.cat((images, images.flip(3)))  # copies of whole images are faster than a choice by pixel
    return both.index_select(0, torch.arange(len(images), device=images.device) + len(images) * mask)


def random_resized_crop(
    images: Tensor, size: tuple[int, int], scale: list[float], ratio: list[float], generator: torch.Generator
) -> Tensor:
    """Cut a random box out of each image and resize it (Szegedy et al. 2014, arXiv:1409.4842).

    images: uint8, (N, C, H, W). size: height and width of the result. scale, ratio: see `draw_boxes`.
    """
    return resized_crop(images, draw_boxes(len(images), images.shape[2:], scale, ratio, generator), size)


def draw_boxes(
    n: int, shape: tuple[int, ...], scale: list[float], ratio: list[float], generator: torch.Generator
) -> Tensor:
    """Return a box (top, left, height, width) inside each image: int64, (4, n), on the CPU.

    shape: height and width of the images. scale: least and largest share of their area. ratio: least and
    largest width over height, uniform in the logarithm. As in torchvision, an image whose first `ATTEMPTS`
    boxes are all too high or too wide gets the largest centred one of an allowed ratio.
    """
    height, width = shape
    share, aspect, (down, right) = draw_fractions((2 * ATTEMPTS + 2, n), generator).split(
        (ATTEMPTS, ATTEMPTS, 2)
    )
    area = height * width * (scale[0] + (scale[1] - scale[0]) * share)
    aspect = ratio[0] * (ratio[1] / ratio[0]) ** aspect
    high, wide = (area / aspect).sqrt().round(), (area * aspect).sqrt().round()
    fits = (high >= 1) & (high <= height) & (wide >= 1) & (wide <= width)
    first = fits.int().argmax(0, keepdim=True)
    high, wide = high.gather(0, first)[0], wide.gather(0, first)[0]
    boxes = torch.stack(
        ((down * (height - high + 1)).floor(), (right * (width - wide + 1)).floor(), high, wide)
    )
    largest = round(min(height, width / ratio[0])), round(min(width, height * ratio[1]))
    fallback = torch.tensor([(height - largest[0]) // 2, (width - largest[1]) // 2, *largest])
    return torch.where(fits.any(0), boxes.long(), fallback[:, None])


def resized_crop(images: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize one box of each image, bilinear and antialiased: uint8, (N, C, *size).

    images: uint8, (N, C, H, W). boxes: int64, (4, N), on the CPU: top, left, height, width.
    """
    if images.device.type == "cpu":  # the products take five times as long at 256x256
        return torch.stack(
            [
                transforms.resized_crop(image, *box, list(size), InterpolationMode.BILINEAR, antialias=True)
                for image, box in zip(images, boxes.T.tolist(), strict=True)
            ]
        )
    parts = zip(images.split(AT_ONCE), copy_to(boxes, images.device).split(AT_ONCE, dim=1), strict=True)
    return torch.cat([resized_by_products(part, box, size) for part, box in parts])


def resized_by_products(images: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """`resized_crop` in a few kernels for all images, where each kernel's launch costs: on a GPU.

    boxes: on the images' device. Differs from torchvision by rounding: at most 1.
    """
    top, left, high, wide = boxes.float()
    n, channels, height, width = images.shape
    down = _weights(top, high, height, size[0])
    right = _weights(left, wide, width, size[1])
    narrowed = torch.bmm(images.float().view(n, channels * height, width), right.mT)
    resized = down[:, None] @ narrowed.view(n, channels, height, size[1])
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def _weights(start: Tensor, length: Tensor, side: int, out: int) -> Tensor:
    """Return what each of `side` pixels adds to each of `out` pixels: float32, (N, out, side), rows of sum 1.

    start, length: float32, (N,), of the part that is resized. The antialiased bilinear filter is a triangle,
    as wide as two output pixels where it shrinks and as two input pixels where it enlarges.
    """
    scale = (length / out)[:, None, None]
    source = torch.arange(side, device=start.device) + 0.5
    centre = start[:, None, None] + scale * (torch.arange(out, device=start.device)[:, None] + 0.5)
    weights = (1 - (source - centre).abs() / scale.clamp(min=1)).clamp_(min=0)
    inside = (source > start[:, None]) & (source < (start + length)[:, None])
    weights *= inside[:, None]
    return weights / weights.sum(2, keepdim=True)
