"""Image files to uint8 arrays: training on a folder and `imclass predict` see the same pixels."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from imclass.errors import UserError

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
# Not opened: EPS would run Ghostscript on an untrusted program; Pillow only knows the others by name.
REFUSED = ("EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5")
USUAL = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")  # tried first: opening is faster
PER_TASK = 32  # files that a thread takes at once

Result = TypeVar("Result")


class Header(NamedTuple):
    """What the header of a file says."""

    grey: bool
    width: int
    height: int


@cache
def formats() -> tuple[str, ...]:
    """Return the formats that are tried on each file, the usual ones first."""
    Image.init()
    known = [name for name in Image.ID if name not in REFUSED]
    return tuple(sorted(known, key=lambda name: USUAL.index(name) if name in USUAL else len(USUAL)))


@cache
def extensions() -> frozenset[str]:
    """Return the extensions of files that count as images: '.jpg', '.png', ..."""
    return frozenset(ext for ext, name in Image.registered_extensions().items() if name in formats())


@contextmanager
def strict_images() -> Iterator[None]:
    """Make images over Pillow's pixel limit an error, and silence its warnings about odd files.

    Enter it once around all threads that decode: warning filters are global to the process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def read_files(names: Sequence[str], read: Callable[[str], Result]) -> list[Result]:
    """Return read(name) of each file, with a thread per core: decoders release the GIL.

    Raises UserError naming the file that is damaged.
    """
    tasks = [names[start : start + PER_TASK] for start in range(0, len(names), PER_TASK)]
    with strict_images(), ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            return list(chain.from_iterable(pool.map(lambda task: [_named(n, read) for n in task], tasks)))
        finally:
            pool.shutdown(cancel_futures=True)  # after a failure, do not decode the rest


def _named(name: str, read: Callable[[str], Result]) -> Result:
    try:
        return read(name)
    except UserError as error:
        raise UserError(f"{name}: damaged or unreadable image ({error}); replace or delete it") from error


def read_header(path: str | Path) -> Header:
    """Return mode and size without decoding. Raises UserError, without the file's name."""
    try:
        with _open(path) as image:
            return Header(image.mode in GREY_MODES, image.width, image.height)
    except Exception as error:  # on damaged files, Pillow raises nearly anything
        raise UserError(_reason(error)) from error


def decode_image(path: str | Path, size: int | None, channels: int) -> NDArray[np.uint8]:
    """Return a file's pixels as uint8 (channels, H, W), upright.

    channels: 1 (greyscale) or 3 (RGB); alpha is dropped, 16 bits keep the upper 8. size: resize the shorter
    side to it (bicubic, antialiased) and crop the centre square; None: keep the size.
    Raises UserError, without the file's name, if it is damaged, too large or not an image.
    """
    try:
        with _open(path) as image:
            if size is not None:
                image.draft(None, (2 * size, 2 * size))  # JPEG: decode at 1/2, 1/4 or 1/8 of the size
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
    """Return the message of an error without the path that Pillow and the system put into it."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image that Pillow can read"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return " ".join(str(error).split()) or type(error).__name__
