"""One image file of any kind to one uint8 array: folders and `imclass predict` see the same pixels."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from imclass.errors import UserError

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
# Not opened: EPS would run Ghostscript on a stranger's program; the others Pillow knows by name only.
REFUSED = ("EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5")
USUAL = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")  # tried first: opening is faster


class Header(NamedTuple):
    """What a file says about itself, before its pixels are decoded."""

    grey: bool
    width: int
    height: int


@cache
def formats() -> tuple[str, ...]:
    """Return the formats that are tried on each file's contents, the usual ones first."""
    Image.init()
    known = [name for name in Image.ID if name not in REFUSED]
    return tuple(sorted(known, key=lambda name: USUAL.index(name) if name in USUAL else len(USUAL)))


@cache
def extensions() -> frozenset[str]:
    """Return the extensions of files that count as images: '.jpg', '.png', ..."""
    return frozenset(ext for ext, name in Image.registered_extensions().items() if name in formats())


@contextmanager
def strict_images() -> Iterator[None]:
    """Make images over Pillow's pixel limit an error and keep its remarks on odd files quiet.

    Enter it once around threads that decode: the filters of `warnings` belong to the process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def read_header(path: str | Path) -> Header:
    """Return mode and size without decoding. Raises UserError, without the file's name, if unreadable."""
    try:
        with _open(path) as image:
            return Header(image.mode in GREY_MODES, image.width, image.height)
    except Exception as error:  # Pillow's readers raise nearly anything on damaged files
        raise UserError(_reason(error)) from error


def decode_image(path: str | Path, size: int | None, channels: int) -> NDArray[np.uint8]:
    """Return a file's pixels as uint8 (channels, H, W), upright.

    channels: 1 (grey) or 3 (RGB); transparency is dropped, 16 bits keep their upper 8. size: the shorter
    side is resized to it (bicubic, antialiased) and the centre square cut out; None keeps the size.
    Raises UserError, without the file's name, if it is damaged, too large or of an unknown kind.
    """
    try:
        with _open(path) as image:
            if size is not None:
                image.draft(
                    None, (2 * size, 2 * size)
                )  # JPEG: decode at a half, quarter, ... if that is plenty
            ImageOps.exif_transpose(image, in_place=True)
            pixels = _to_mode(image, "L" if channels == 1 else "RGB")
            if size is not None and pixels.size != (size, size):
                pixels = ImageOps.fit(pixels, (size, size), Image.Resampling.BICUBIC)
            array = np.asarray(pixels)
    except Exception as error:  # as above
        raise UserError(_reason(error)) from error
    return array[None] if channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def _open(path: str | Path) -> Image.Image:
    image = Image.open(path, formats=formats())
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:  # outside `strict_images` Pillow only warns
        image.close()
        raise Image.DecompressionBombError(
            f"{image.width}x{image.height} pixels, more than the limit of {limit}"
        )
    return image


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode:
        return image
    if image.mode.startswith("I"):  # 16 bits, perhaps widened to 32; Pillow would clip them at 255
        upper = np.asarray(image).clip(0, 0xFFFF) >> 8
        image = Image.fromarray(upper.astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range; save it with 8 or 16 bits")
    return image.convert(mode)


def _reason(error: Exception) -> str:
    """Say what is wrong in a few words, without the path that Pillow and the system put in."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image that Pillow can read"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return " ".join(str(error).split()) or type(error).__name__
