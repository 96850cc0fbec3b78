"""Pillow's and torch's antialiased resizing of 8-bit images, as products of matrices.

Both compute with whole numbers: weights times a power of two, sums rounded to bytes after each direction. In
float64 such sums are exact, so a graph of ordinary operations gives the same pixels on any runtime, at any
size of the images: torch's bit for bit, Pillow's but for rare differences of a level or two (from version 13
on, it resizes some images along the height first). Sizes enter as tensors only, never as numbers, so all
exporters keep them dynamic.

Images are (N, C, H, W), float64 with whole values from 0 to 255.
"""

import torch
from torch import Tensor

PILLOW_BITS = 22  # of its weights: the bytes' 8 bits and 2 spare ones are left of 32
TORCH_BITS = 22  # at most; as many as let the largest weight fit into 16 bits


def fit_as_pillow(images: Tensor, side: int) -> Tensor:
    """Return the centre square of images, side x side: ImageOps.fit(image, (side, side), BICUBIC)."""
    rows, columns = _ones(images)
    square = torch.minimum(rows.sum(), columns.sum())
    axes = []
    for ones in (rows, columns):
        start = (ones.sum() - square) / 2
        weights = _weights(ones, start, square, side, cubic=True)
        axes.append((_half_away(weights * 2**PILLOW_BITS), torch.full_like(square, 2**PILLOW_BITS)))
    return _apply(images, *axes)


def fit_as_torch(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the largest centre of the shape of `size`, resized to it: torchvision's, bilinear, on uint8.

    size: height and width. Only pixels in that centre count.
    """
    rows, columns = _ones(images)
    high, wide = rows.sum(), columns.sum()
    height, width = size
    extents = (
        torch.minimum(high, (wide * height / width).floor()),
        torch.minimum(wide, (high * width / height).floor()),
    )
    axes = []
    for ones, extent, out in zip((rows, columns), extents, size, strict=True):
        start = ((ones.sum() - extent) / 2).round()  # to even, as Python rounds
        at = ones.cumsum(0) - 1
        inside = (at >= start) & (at < start + extent)
        weights = _weights(ones * inside, start, extent, out, cubic=False)
        scale = _torch_scale(weights.max())
        axes.append((_half_away(weights * scale), scale))
    return _apply(images, *axes)


def to_grey(images: Tensor) -> Tensor:
    """Return (N, 1, H, W) from RGB, as Pillow converts to "L"."""
    red, green, blue = images.unbind(1)
    grey = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) / 0x10000
    return grey.floor().unsqueeze(1)


def _ones(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return float64 ones: a vector of the images' height, and one of their width."""
    first = torch.ones_like(images[0, 0])
    return first[:, 0], first[0]


def _weights(counted: Tensor, start: Tensor, extent: Tensor, out: int, *, cubic: bool) -> Tensor:
    """Return float64 weights (out, pixels), rows of sum 1, of a resize of `extent` pixels from `start` on.

    counted: 1 for each pixel, or 0 where it does not count. A filter is stretched only to shrink images.
    """
    scale = extent / out
    stretch = scale.clamp(min=1)
    centres = start + (torch.arange(out, dtype=counted.dtype, device=counted.device) + 0.5) * scale
    pixels = torch.ones_like(counted).cumsum(0) - 1
    distances = ((pixels[None] - centres[:, None] + 0.5) * (1 / stretch)).abs()
    weights = (_cubic(distances) if cubic else (1 - distances).clamp(min=0)) * counted
    return weights / weights.sum(1, keepdim=True)


def _cubic(x: Tensor) -> Tensor:
    """Keys' kernel with a = -0.5. x: at least 0."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return near * (x < 1) + far * ((x >= 1) & (x < 2))


def _torch_scale(largest: Tensor) -> Tensor:
    """Return the power of two by which torch multiplies weights, the largest that fits 16 bits."""
    powers = 2.0 ** torch.arange(TORCH_BITS, dtype=largest.dtype, device=largest.device)
    fits = (largest * 2 * powers + 0.5) < 2**15
    return 1 + (powers * fits).sum()


def _half_away(values: Tensor) -> Tensor:
    """Round to whole numbers, halves away from zero."""
    return (values.abs() + 0.5).floor() * values.sign()


def _apply(images: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]) -> Tensor:
    """Resize along the width, then along the height, each rounded to bytes. Axes are (weights, scale)."""
    (down, scale_down), (across, scale_across) = rows, columns
    images = _to_bytes(images @ across.T, scale_across)
    return _to_bytes(down @ images, scale_down)


def _to_bytes(sums: Tensor, scale: Tensor) -> Tensor:
    return ((sums + scale / 2) / scale).floor().clamp(0, 255)
