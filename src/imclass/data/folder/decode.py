"""Image files to uint8 arrays: training on a folder and `imclass predict` see the same pixels."""

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from imclass.config.setting import show
from imclass.errors import UserError
from imclass.runs.regular import open_regular

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
# The formats that are opened, by contents; the usual ones first, as opening is faster. Of Pillow's others,
# some are decoded by Python loops, a minute for a small file (QOI, DDS, BLP), one runs Ghostscript (EPS).
USUAL = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
FORMATS = (*USUAL, "MPO", "AVIF", "JPEG2000", "PPM", "ICO", "DIB", "PCX", "SGI", "TGA")
# Passes over pixels that a JPEG may ask for: a progressive one has a scan, so a pass, for a few bytes.
LARGEST_WORK = 2_000_000_000
LARGE = 50_000_000  # pixels, beyond which images are decoded one at a time: each may take a gigabyte
_one_large = threading.Lock()
PER_TASK = 32  # files that a thread takes at once

Result = TypeVar("Result")
Source = str | Path | Image.Image  # a file, or what Pillow has opened or made
Colour = tuple[int, int, int]  # red, green and blue, each 0..255
BACKGROUNDS: dict[str, Colour | None] = {"white": (255, 255, 255), "black": (0, 0, 0), "ignore": None}


class Header(NamedTuple):
    """The header's fields."""

    grey: bool
    width: int
    height: int


@cache
def formats() -> tuple[str, ...]:
    """Return the formats that are tried on each file: those of `FORMATS` that this Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.ID)


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


def read_files(names: Sequence[str], read: Callable[[str], Result]) -> Iterator[Result]:
    """Yield read(name) of each file in order, with a thread per core: decoders release the GIL."""
    tasks = [names[start : start + PER_TASK] for start in range(0, len(names), PER_TASK)]
    with strict_images(), ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            yield from chain.from_iterable(pool.map(lambda task: [read(name) for name in task], tasks))
        finally:
            pool.shutdown(cancel_futures=True)  # after a failure, do not decode the rest


def read_images(
    root: Path, names: Sequence[str], read: Callable[[Path], Result], advice: str
) -> list[Result]:
    """Return read(root / name) of each image. Raises UserError that names the damaged one, with `advice`."""

    def named(name: str) -> Result:
        try:
            return read(root / name)
        except UserError as error:
            raise UserError(f"{show(name)}: damaged or unreadable image ({error}); {advice}") from error

    return list(read_files(names, named))


def damage(path: str | Path) -> str:
    """Decode an image fully; return the problem, "" if none."""
    try:
        decode_image(path, None, channels=3)
    except UserError as error:
        return str(error)
    return ""


def read_header(path: str | Path) -> Header:
    """Return mode and size without decoding. Raises UserError, without the file's name."""
    try:
        with open_regular(path) as file, open_image(file) as image:
            return Header(image.mode in GREY_MODES, image.width, image.height)
    except Exception as error:  # on damaged files, Pillow raises nearly anything
        raise UserError(_reason(error)) from error


def colour_of(background: str | list[int]) -> Colour | None:
    """Return the colour that `dataset.background` names, None for `ignore`."""
    if isinstance(background, str):
        return BACKGROUNDS[background]
    red, green, blue = background
    return red, green, blue


def decode_image(
    source: Source, size: int | None, channels: int, background: Colour | None = BACKGROUNDS["white"]
) -> NDArray[np.uint8]:
    """Return the pixels of a file or an open image as uint8 (channels, H, W), upright.

    channels: 1 (greyscale) or 3 (RGB); 16 bits keep the upper 8. size: resize the shorter side to it
    (bicubic, antialiased) and crop the centre square; None: keep the size. background: what shows through
    transparent pixels, as its brightness with one channel; None: alpha is ignored.
    Raises UserError, without the file's name, if it is damaged, too large or not an image.
    """
    array = _decoded(source, size, "L" if channels == 1 else "RGB", background, resized=size is not None)
    return array[None] if channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def decode_unresized(path: str | Path, size: int | None, background: Colour | None) -> NDArray[np.uint8]:
    """Return RGB pixels, uint8 (H, W, 3), as `decode_image` has them before it resizes them to `size`."""
    return _decoded(path, size, "RGB", background, resized=False)


def _decoded(
    source: Source, size: int | None, mode: str, background: Colour | None, *, resized: bool
) -> NDArray[np.uint8]:
    """Return upright pixels (H, W) or (H, W, 3); not resized, JPEGs are still at least twice `size`."""
    try:
        with ExitStack() as opened:
            if isinstance(source, Image.Image):
                if 0 in source.size:
                    raise ValueError("has no pixels")
                image = ImageOps.exif_transpose(source)  # a copy: the caller's image stays as it is
            else:
                image = _read_upright(source, size, opened)
            pixels = _to_mode(image, mode, background)
            if resized and size is not None and pixels.size != (size, size):
                pixels = ImageOps.fit(pixels, (size, size), Image.Resampling.BICUBIC)
            return np.asarray(pixels)
    except Exception as error:  # as above
        raise UserError(_reason(error)) from error


def _read_upright(path: str | Path, size: int | None, opened: ExitStack) -> Image.Image:
    """Return a file's image, which is closed together with `opened`; JPEGs are at least twice `size`."""
    file = opened.enter_context(open_regular(path))
    image = opened.enter_context(open_image(file))
    _check_work(file, image)
    if size is not None:
        image.draft(None, (2 * size, 2 * size))  # JPEG: decode at 1/2, 1/4 or 1/8 of the size
    if image.width * image.height > LARGE:
        opened.enter_context(_one_large)
    ImageOps.exif_transpose(image, in_place=True)
    return image


def open_image(file: BinaryIO) -> Image.Image:
    """Open an image of one of the formats, below Pillow's limit of pixels; nothing is decoded yet."""
    image = Image.open(file, formats=formats())
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:  # outside `strict_images` Pillow only warns
        raise Image.DecompressionBombError(
            f"{image.width}x{image.height} pixels, more than the limit of {limit}"
        )
    return image


def _check_work(file: BinaryIO, image: Image.Image) -> None:
    """Raise ValueError for a JPEG of so many scans that decoding would take minutes."""
    if image.format in ("JPEG", "MPO"):
        position = file.tell()
        file.seek(0)
        scans = file.read().count(b"\xff\xda")
        file.seek(position)
        if scans * image.width * image.height > LARGEST_WORK:
            raise ValueError(f"{scans} scans of {image.width}x{image.height} pixels, too many to decode")


def _to_mode(image: Image.Image, mode: str, background: Colour | None) -> Image.Image:
    """Return the image with 8 bits per channel in `mode`, L or RGB, and without alpha."""
    if image.mode.startswith("I"):
        image = _upper_8_bits(image)
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range; save it with 8 or 16 bits")
    if background is not None and image.has_transparency_data:
        behind = Image.new("RGBA", image.size, background)
        image = Image.alpha_composite(behind, image.convert("RGBA"))
    return image if image.mode == mode else image.convert(mode)


def _upper_8_bits(image: Image.Image) -> Image.Image:
    """Return 16 bits, perhaps widened to 32, as L (Pillow would clip at 255); with a colour key as LA."""
    values, key = np.asarray(image), image.info.get("transparency")
    grey = Image.fromarray((values.clip(0, 0xFFFF) >> 8).astype(np.uint8))
    if key is None:
        return grey
    return Image.merge("LA", (grey, Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))))


def _reason(error: Exception) -> str:
    """Return the message of an error without the path that Pillow and the system put into it."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image that Pillow can read"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return " ".join(str(error).split()) or type(error).__name__
