"""RandAugment and TrivialAugment for a batch: fourteen image operations on uint8 tensors.

Operations are drawn on the CPU, so that the host knows how many images share one: it sorts the batch by
operation, runs each operation once on its slice, and sorts back, without synchronising with the device.

Images are uint8, (N, C, H, W), of one or three channels. Operations, strengths and arithmetic are
those of torchvision.transforms.v2, so that published settings mean the same here.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from imclass.data.colour import change_brightness, change_contrast, change_saturation, to_uint8
from imclass.data.draws import draw_integers
from imclass.machine.device import copy_to

BINS = 31  # magnitudes run from 0 (leaves the image nearly as it is) to 30 (strongest)


def randaugment(images: Tensor, operations: int, magnitude: int, generator: torch.Generator) -> Tensor:
    """Apply random operations, one after the other, at one magnitude (Cubuk et al. 2019, arXiv:1909.13719).

    images: uint8, (N, C, H, W). operations: per image. magnitude: 0..30. generator: on the CPU.
    """
    table = rand_magnitudes(images.shape[2], images.shape[3])
    for _ in range(operations):
        operation = draw_integers(len(OPERATIONS), (len(images),), generator)
        strength = _random_sign(table[operation, magnitude], operation, generator)
        images = apply_operations(images, operation, strength)
    return images


def trivialaugment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Apply one random operation at a random magnitude (Mueller & Hutter 2021, arXiv:2103.10158).

    images: uint8, (N, C, H, W). generator: on the CPU. The wide search space of the paper.
    """
    operation = draw_integers(len(OPERATIONS), (len(images),), generator)
    magnitude = draw_integers(BINS, (len(images),), generator)
    strength = _random_sign(trivial_magnitudes()[operation, magnitude], operation, generator)
    return apply_operations(images, operation, strength)


def apply_operations(images: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
    """Apply to each image the operation given by its index in OPERATIONS.

    images: uint8, (N, C, H, W). operation: int64, (N,), on the CPU.
    strength: float32, (N,), on the CPU; its unit is the operation's own.
    """
    if images.shape[1] not in (1, 3):
        raise ValueError(f"RandAugment and TrivialAugment: 1 or 3 channels, not {images.shape[1]}")
    order = operation.argsort(stable=True)
    counts = torch.bincount(operation, minlength=len(OPERATIONS)).tolist()
    there, back = copy_to(torch.stack((order, order.argsort())), images.device)
    slices = images[there].split(counts)
    strengths = copy_to(strength[order], images.device).split(counts)
    groups = zip(OPERATIONS.values(), slices, strengths, strict=True)
    return torch.cat([apply(part, amount) for apply, part, amount in groups if len(part)])[back]


@cache
def rand_magnitudes(height: int, width: int) -> Tensor:
    """Strength of every operation at every magnitude of RandAugment: float32, (operations, bins)."""
    share = 150.0 / 331.0
    return _magnitudes(0.3, share * width, share * height, 30.0, 0.9, fewest_bits=4)


@cache
def trivial_magnitudes() -> Tensor:
    """Strength of every operation at every magnitude of TrivialAugment: float32, (operations, bins)."""
    return _magnitudes(0.99, 32.0, 32.0, 135.0, 0.99, fewest_bits=2)


def _magnitudes(
    shear: float, right: float, down: float, degrees: float, colour: float, fewest_bits: int
) -> Tensor:
    strongest = (shear, shear, right, down, degrees, colour, colour, colour, colour)
    rows = {name: torch.linspace(0.0, end, BINS) for name, end in zip(SIGNED, strongest, strict=True)}
    rows["Posterize"] = (8 - torch.arange(BINS) / ((BINS - 1) / (8 - fewest_bits))).round()
    rows["Solarize"] = torch.linspace(1.0, 0.0, BINS)
    return torch.stack([rows.get(name, torch.zeros(BINS)) for name in OPERATIONS])


def _random_sign(strength: Tensor, operation: Tensor, generator: torch.Generator) -> Tensor:
    """Negate half of the strengths of those operations that are signed."""
    negative = draw_integers(2, strength.shape, generator).bool()
    signed = torch.tensor([name in SIGNED for name in OPERATIONS])[operation]
    return torch.where(negative & signed, -strength, strength)


# Operations. Each takes images uint8 (n, C, H, W) and strengths float32 (n,), both on the device.


def _identity(images: Tensor, strength: Tensor) -> Tensor:
    return images


def _shear_x(images: Tensor, strength: Tensor) -> Tensor:
    """strength: columns per row; the image's upper edge stays where it is."""
    y, x = _pixel_grid(images)
    return _sample(images, y, x + strength[:, None, None] * (y + 0.5))


def _shear_y(images: Tensor, strength: Tensor) -> Tensor:
    """strength: rows per column; the image's left edge stays where it is."""
    y, x = _pixel_grid(images)
    return _sample(images, y + strength[:, None, None] * (x + 0.5), x)


def _translate_x(images: Tensor, strength: Tensor) -> Tensor:
    """strength: pixels to the right, cut to an integer."""
    y, x = _pixel_grid(images)
    return _sample(images, y, x - strength[:, None, None].trunc())


def _translate_y(images: Tensor, strength: Tensor) -> Tensor:
    """strength: pixels downwards, cut to an integer."""
    y, x = _pixel_grid(images)
    return _sample(images, y - strength[:, None, None].trunc(), x)


def _rotate(images: Tensor, strength: Tensor) -> Tensor:
    """strength: degrees counter-clockwise about the image's centre."""
    y, x = _pixel_grid(images)
    middle_y, middle_x = (images.shape[2] - 1) / 2, (images.shape[3] - 1) / 2
    angle = torch.deg2rad(strength[:, None, None])
    sine, cosine, down, right = angle.sin(), angle.cos(), y - middle_y, x - middle_x
    return _sample(images, cosine * down + sine * right + middle_y, cosine * right - sine * down + middle_x)


def _pixel_grid(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the row (H, 1) and the column (1, W) of every pixel, float32."""
    height, width = images.shape[2:]
    y = torch.arange(height, device=images.device, dtype=torch.float32)
    x = torch.arange(width, device=images.device, dtype=torch.float32)
    return y[:, None], x[None]


def _sample(images: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Fill every pixel with the one nearest to its source position (y, x), zero if outside the image.

    y, x: float32, broadcastable to (n, H, W). A gather of bytes: unlike grid_sample it needs no float
    images, and autocast or TF32 cannot coarsen the positions.
    """
    n, channels, height, width = images.shape
    row, column = y.round().long(), x.round().long()
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    source = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    source = source.expand(n, height, width).reshape(n, 1, -1).expand(n, channels, -1)
    return images.flatten(2).gather(2, source).view(images.shape).masked_fill(~inside[:, None], 0)


def _sharpness(images: Tensor, strength: Tensor) -> Tensor:
    """Away from the image smoothed by the kernel [1 1 1; 1 5 1; 1 1 1] / 13; the border stays."""
    if min(images.shape[2:]) < 3:
        return images
    exact = images.to(torch.int16)  # sums of at most 13 * 255
    triples = exact[..., :-2, :] + exact[..., 1:-1, :] + exact[..., 2:, :]
    inner = exact[..., 1:-1, 1:-1]
    total = triples[..., :-2] + triples[..., 1:-1] + triples[..., 2:] + 4 * inner
    detail, amount = inner - (total / 13).round(), strength[:, None, None, None]
    sharpened = images.clone()
    sharpened[..., 1:-1, 1:-1] = to_uint8(torch.addcmul(inner.float(), detail, amount))
    return sharpened


def _posterize(images: Tensor, strength: Tensor) -> Tensor:
    """strength: number of leading bits to keep, 0..8."""
    mask = torch.bitwise_left_shift(255, 8 - strength[:, None, None, None].to(torch.int32)) & 255
    return images & mask.to(torch.uint8)


def _solarize(images: Tensor, strength: Tensor) -> Tensor:
    """strength: invert the pixels from this fraction of full brightness on."""
    return torch.where(images >= 255 * strength[:, None, None, None], 255 - images, images)


def _autocontrast(images: Tensor, strength: Tensor) -> Tensor:
    """Stretch every channel to 0..255; channels of a single value stay."""
    low, high = (bound[..., None].float() for bound in images.flatten(2).aminmax(dim=2, keepdim=True))
    stretched = (images - low) / ((high - low) * (1 / 255))
    return to_uint8(torch.where(high > low, stretched, images))


def _equalize(images: Tensor, strength: Tensor) -> Tensor:
    """Flatten every channel's histogram with Pillow's integer arithmetic."""
    pixels = images.flatten(2).long()
    histogram = pixels.new_zeros(*pixels.shape[:2], 256).scatter_add_(2, pixels, torch.ones_like(pixels))
    brightest = histogram.gather(2, pixels.amax(2, keepdim=True))
    step = (pixels.shape[2] - brightest) // 255  # zero: too few pixels or values to equalize
    darker = histogram.cumsum(2) - histogram  # pixels below each value
    table = ((darker + step // 2) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, table.gather(2, pixels), pixels).to(torch.uint8).view(images.shape)


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Identity": _identity,
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": _translate_x,
    "TranslateY": _translate_y,
    "Rotate": _rotate,
    "Brightness": change_brightness,
    "Color": change_saturation,
    "Contrast": change_contrast,
    "Sharpness": _sharpness,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "AutoContrast": _autocontrast,
    "Equalize": _equalize,
}
SIGNED = tuple(OPERATIONS)[1:10]  # shear to sharpness: those that have two directions
