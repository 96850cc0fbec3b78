"""Brightness, contrast and saturation of a batch, as torchvision's functions change them.

Images are uint8, (N, C, H, W). Contrast and saturation need one or three channels. Strengths are float32,
(N,), on the images' device: 0 leaves an image as it is, -1 takes all away, 1 doubles.
"""

import torch
from torch import Tensor

from imclass.data.draws import draw_fractions
from imclass.machine.device import copy_to

IN_CACHE = 1 << 18  # values changed at once on a CPU: as floats they stay in a core's cache


def colour_jitter(
    images: Tensor, brightness: float, contrast: float, saturation: float, generator: torch.Generator
) -> Tensor:
    """Change brightness, then contrast, then saturation of each image, by factors drawn for it.

    brightness, contrast, saturation: 0..1, the largest change x; factors are uniform in 1 - x..1 + x. 0: that
    one is left out. torchvision's ColorJitter draws the order too, which in a batch takes six times as long.
    """
    spans = (brightness, contrast, saturation)
    drawn = draw_fractions((3, len(images)), generator)
    strengths = ((2 * drawn - 1) * torch.tensor(spans)[:, None]).float()
    at_once = max(1, IN_CACHE // images[0].numel()) if images.device.type == "cpu" else len(images)
    parts = zip(images.split(at_once), copy_to(strengths, images.device).split(at_once, dim=1), strict=True)
    return torch.cat([_changed(part, strength, spans) for part, strength in parts])


def _changed(images: Tensor, strengths: Tensor, spans: tuple[float, ...]) -> Tensor:
    """Apply those changes whose span is not 0. strengths: float32, (3, N)."""
    for change, span, strength in zip(CHANGES, spans, strengths, strict=True):
        if span:
            images = change(images, strength)
    return images


def change_brightness(images: Tensor, strength: Tensor) -> Tensor:
    """Scale each image's difference from black by 1 + strength."""
    return to_uint8(images * (1 + strength[:, None, None, None]))


def change_contrast(images: Tensor, strength: Tensor) -> Tensor:
    """Scale each image's difference from its mean luma by 1 + strength."""
    return _away_from(_luma(images).mean((1, 2, 3), keepdim=True), images, strength)


def change_saturation(images: Tensor, strength: Tensor) -> Tensor:
    """Scale each pixel's difference from its own luma by 1 + strength; a grey image stays."""
    return images if images.shape[1] == 1 else _away_from(_luma(images), images, strength)


CHANGES = (change_brightness, change_contrast, change_saturation)


def to_uint8(values: Tensor) -> Tensor:
    """Cut values to 0..255, in place, and their fractions off."""
    return values.clamp_(0, 255).to(torch.uint8)


def _away_from(base: Tensor, images: Tensor, strength: Tensor) -> Tensor:
    """Extrapolate: base for strength -1, images for 0, twice their difference from base for 1."""
    amount = strength[:, None, None, None]
    return to_uint8((images * (1 + amount)).addcmul_(base, -amount))


def _luma(images: Tensor) -> Tensor:
    """Return the luma (ITU-R 601) as whole numbers in float32, (n, 1, H, W)."""
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = images.split(1, dim=1)
    return (red * 0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()
