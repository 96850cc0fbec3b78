"""Augmentation of a batch on its device, and its conversion to floats.

A random augmentation has two parts: numbers drawn on the CPU, so that all devices draw the same, and a
pure function that applies them. None synchronises with the device. Images are (N, C, H, W) and uint8
until `normalize`; only mixup and cutmix, which make fractions, come after it. Every `generator` is a CPU
generator: in training a `SliceGenerator`, so that all ranks together draw what one process would.
"""

import math
import random
from collections.abc import Callable

import torch
from torch import Tensor

from imclass.config.groups import component
from imclass.config.schema import AugmentConfig
from imclass.data.autoaugment import randaugment, trivialaugment
from imclass.data.colour import colour_jitter
from imclass.data.crops import flip, random_crop, random_flip, random_resized_crop
from imclass.data.draws import draw_fractions, draw_integers
from imclass.errors import UserError
from imclass.machine.device import copy_to


class Augment:
    """The augmentations that are on, in a fixed order."""

    def __init__(self, config: AugmentConfig, classes: int) -> None:
        self.config = config
        self.classes = classes
        self.plugin = _load_plugin(config.plugin)

    def resized_crop(self, images: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Return random resized crops, uint8, (N, C, *size): the first augmentation, if it is on.

        images: uint8, (N, C, H, W), as they are stored: cropping them at once resizes them once only.
        """
        return random_resized_crop(images, size, self.config.crop_scale, self.config.crop_ratio, generator)

    def __call__(self, images: Tensor, generator: torch.Generator, mirrored: Tensor | None) -> Tensor:
        """Apply all but resized crops, mixup and cutmix. images: uint8, (N, C, H, W); so is the result.

        mirrored: bool, (N,), on the CPU: the images to mirror, where flips alternate. Of ours, erasing comes
        last, so that RandAugment neither lights up nor moves what was erased.
        """
        config = self.config
        if config.crop:
            images = random_crop(images, config.crop, config.crop_padding, generator)
        if mirrored is not None:
            images = flip(images, copy_to(mirrored, images.device))
        elif config.flip:
            images = random_flip(images, generator)
        if config.brightness or config.contrast or config.saturation:
            images = colour_jitter(images, config.brightness, config.contrast, config.saturation, generator)
        if config.trivialaugment:
            images = trivialaugment(images, generator)
        if config.randaugment:
            images = randaugment(images, config.randaugment, config.magnitude, generator)
        if config.cutout:
            images = cutout(images, config.cutout, generator)
        if config.random_erasing:
            images = random_erasing(images, config.random_erasing, generator)
        return self.plugin(images, generator)

    def positions(self, part: slice, batch: int) -> Tensor:
        """Return the positions (int64) in a batch of the images from which `mix` makes `part` of it.

        Each image is mixed with the one before it, the first of the batch with the last.
        """
        mixes = self.config.mixup > 0 or self.config.cutmix > 0
        return torch.arange(part.start - mixes, part.stop) % batch

    def mix(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Apply mixup or cutmix to the images at `positions`; with both on, a coin picks one per batch.

        images: float, (N, C, H, W). labels: int64, (N,). If neither is on, they are returned as they are;
        else N - 1 images and targets: float32, (N - 1, classes).
        """
        mixup_alpha, cutmix_alpha = self.config.mixup, self.config.cutmix
        if mixup_alpha and cutmix_alpha:
            heads = bool(torch.randint(2, (), generator=generator))
            mixup_alpha, cutmix_alpha = (mixup_alpha, 0.0) if heads else (0.0, cutmix_alpha)
        if mixup_alpha:
            return mixup(images, labels, mixup_alpha, self.classes, generator)
        if cutmix_alpha:
            return cutmix(images, labels, cutmix_alpha, self.classes, generator)
        return images, labels


def _load_plugin(name: str | None) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Return the augmentation that another package adds as `name`; None: what changes nothing.

    It is called with a batch, uint8 (N, C, H, W) on its device, and the CPU generator of its step; it returns
    another such batch. What it draws with `data.draws` does not depend on the number of ranks.
    """
    if name is None:
        return lambda images, generator: images
    function = component("augment", name, {}, Tensor)

    def apply(images: Tensor, generator: torch.Generator) -> Tensor:
        result = function(images, generator)
        if result.shape != images.shape or result.dtype != images.dtype:
            expected, got = (f"{str(t.dtype)[6:]} {tuple(t.shape)}" for t in (images, result))
            raise UserError(f"augment.plugin={name}: returns {got}; expected {expected}, as it was given")
        return result

    return apply


def try_plugin(config: AugmentConfig, shape: tuple[int, int, int]) -> None:
    """Apply the augmentation of another package, if there is one, to two images. Raises UserError."""
    _load_plugin(config.plugin)(torch.zeros(2, *shape, dtype=torch.uint8), torch.Generator())


def cutout(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Zero one random square per image (DeVries & Taylor 2017, arXiv:1708.04552).

    images: uint8 or float, (N, C, H, W). size: side in pixels, 1..min(H, W).
    The square's centre is uniform over the image, so squares may leave it at the edges.
    """
    n, _, height, width = images.shape
    centre_y = draw_integers(height, (n,), generator)
    centre_x = draw_integers(width, (n,), generator)
    side = torch.full((n,), size)
    corner_and_size = torch.stack((centre_y - size // 2, centre_x - size // 2, side, side))
    return erase(images, *copy_to(corner_and_size, images.device))


def random_erasing(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Zero one random rectangle in each image with this probability (Zhong et al. 2017, arXiv:1708.04896).

    images: uint8 or float, (N, C, H, W). The rectangle covers 2 to 33 % of the image; its height is 0.3
    to 3.3 times its width, uniform in the logarithm. Where it would be higher or wider than the image,
    it is cut to fit. The paper and torchvision draw again until it fits, which a batch cannot do without a
    loop and which makes large or narrow rectangles rarer than their ranges say.
    """
    n, _, height, width = images.shape
    chance, area, aspect, down, right = draw_fractions((5, n), generator)
    area = (0.02 + (0.33 - 0.02) * area) * height * width
    aspect = 0.3 * (3.3 / 0.3) ** aspect
    high = (area * aspect).sqrt().round().clamp(1, height)
    wide = (area / aspect).sqrt().round().clamp(1, width)
    top, left = (down * (height - high + 1)).floor(), (right * (width - wide + 1)).floor()
    high = torch.where(chance < probability, high, 0)  # nothing to erase
    rectangle = torch.stack((top, left, high, wide)).long()
    return erase(images, *copy_to(rectangle, images.device))


def erase(images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Zero one rectangle per image. images: (N, C, H, W).

    top, left, height, width: int64, (N,), in pixels; what lies outside the image is ignored.
    """
    y = torch.arange(images.shape[2], device=images.device)
    x = torch.arange(images.shape[3], device=images.device)
    rows = (y >= top[:, None]) & (y < (top + height)[:, None])  # (N, H), True inside the rectangle
    columns = (x >= left[:, None]) & (x < (left + width)[:, None])  # (N, W)
    rows, columns = rows.to(images.dtype), columns.to(images.dtype)  # products are faster than masks
    return images * (1 - rows[:, None, :, None] * columns[:, None, None, :])


def mixup(
    images: Tensor, labels: Tensor, alpha: float, classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Blend each image but the first, and its target, with the one before it.

    Zhang et al. 2017, arXiv:1710.09412. images: float, (N, C, H, W). labels: int64, (N,). alpha: above 0;
    the weight of the image itself is drawn once per batch from Beta(alpha, alpha).
    Returns N - 1 images and targets: float32, (N - 1, classes), of sum 1.
    """
    weight = _draw_beta(alpha, generator)
    return blend(images, weight), blend(one_hot(labels, classes), weight)


def cutmix(
    images: Tensor, labels: Tensor, alpha: float, classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of the image before it into each image but the first.

    Yun et al. 2019, arXiv:1905.04899. images: float, (N, C, H, W). labels: int64, (N,). alpha: above 0;
    the rectangle's share of the image is one minus a draw from Beta(alpha, alpha), its place uniform, both
    drawn once per batch.
    Returns N - 1 images and targets: float32, (N - 1, classes), weighted by the area that was pasted.
    """
    height, width = images.shape[2:]
    box = _draw_box(height, width, _draw_beta(alpha, generator), generator)
    top, left, bottom, right = box
    weight = 1 - (bottom - top) * (right - left) / (height * width)
    return paste(images, box), blend(one_hot(labels, classes), weight)


def blend(batch: Tensor, weight: float) -> Tensor:
    """weight * each + (1 - weight) * the one before. batch: float, (N, ...). Returns (N - 1, ...)."""
    return torch.lerp(batch[:-1], batch[1:], weight)


def paste(images: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """Fill the box (top, left, bottom, right) from the image before. images: (N, C, H, W); returns N - 1."""
    top, left, bottom, right = box
    pasted = images[1:].clone()
    pasted[..., top:bottom, left:right] = images[:-1, :, top:bottom, left:right]
    return pasted


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Return float32, (N, classes). torch's own one_hot checks the labels, which synchronises."""
    return (labels[:, None] == torch.arange(classes, device=labels.device)).float()


def _draw_beta(alpha: float, generator: torch.Generator) -> float:
    """Draw from Beta(alpha, alpha). Only torch's private functions draw it from a generator."""
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return random.Random(seed).betavariate(alpha, alpha)


def _draw_box(
    height: int, width: int, weight: float, generator: torch.Generator
) -> tuple[int, int, int, int]:
    """Draw a rectangle (top, left, bottom, right) of share 1 - weight, clipped to the image."""
    centre_y = int(torch.randint(height, (), generator=generator))
    centre_x = int(torch.randint(width, (), generator=generator))
    half_side = 0.5 * math.sqrt(1 - weight)
    half_y, half_x = int(half_side * height), int(half_side * width)
    return (
        max(centre_y - half_y, 0),
        max(centre_x - half_x, 0),
        min(centre_y + half_y, height),
        min(centre_x + half_x, width),
    )


def normalize(images: Tensor, mean: Tensor, std: Tensor, channels_last: bool = False) -> Tensor:
    """Return (images / 255 - mean) / std in float32, contiguous in its memory format.

    images: uint8, (N, C, H, W). mean, std: float32, (C,), on a scale of 0 to 1, on the images' device.
    """
    scale = 1 / (255 * std)
    shift = -mean / std
    if not channels_last:
        return (images * scale[:, None, None]).add_(shift[:, None, None])
    # Move channels while they are bytes, and scale rows of W * C values as one vector: on a CPU, an inner
    # loop over three channels is several times slower.
    width = images.shape[3]
    rows = torch.stack(images.unbind(1), dim=3).flatten(2)
    scale, shift = (values.expand(width, -1).flatten() for values in (scale, shift))
    rows = (rows * scale).add_(shift)
    return rows.unflatten(2, (width, -1)).permute(0, 3, 1, 2)
