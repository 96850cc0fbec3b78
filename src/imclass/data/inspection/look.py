"""What one picture looks like from outside: its file, size, border, and a thumbnail to compare it by."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imclass.data.folder.decode import decode_image, open_image
from imclass.errors import UserError
from imclass.runs.regular import open_regular

SIDE = 16  # pixels of a thumbnail
EVEN = 8  # largest difference within a border of one colour
STEP = 32  # border colours are rounded to multiples of this


class Look(NamedTuple):
    digest: bytes  # of the file, or of the pixels where there is none
    thumbnail: NDArray[np.uint8]  # (SIDE, SIDE, 3)
    width: int
    height: int
    border: str  # white, black, a colour as #rrggbb; "" where it has several
    format: str = ""  # as Pillow names it
    mode: str = ""
    transparent: bool = False
    brightest: int | None = None  # the largest of 16-bit values, of which decoding keeps the upper 8


def look_at_file(path: Path) -> Look | str:
    """Decode a picture fully; return what it looks like, or why it cannot be read."""
    try:
        pixels = decode_image(path, None, channels=3)
        with open_regular(path) as file:
            digest = hashlib.sha256(file.read()).digest()
            file.seek(0)
            with open_image(file) as image:
                alpha = np.asarray(image.convert("RGBA"))[..., 3] if image.has_transparency_data else 255
                transparent = bool(np.min(alpha) < 255)
                kind, mode = image.format or "", image.mode
                brightest = int(np.max(np.asarray(image))) if mode.startswith("I") else None
    except UserError as error:
        return str(error)
    except OSError as error:  # it went between the two
        return str(error)
    return Look(digest, *_seen(pixels), kind, mode, transparent, brightest)


def look_at_pixels(pixels: NDArray[np.uint8]) -> Look:
    """Return what an image (C, H, W) of 1 or 3 channels looks like."""
    digest = hashlib.sha256(np.ascontiguousarray(pixels).data).digest()
    return Look(digest, *_seen(np.repeat(pixels, 3, 0) if len(pixels) == 1 else pixels))


def _seen(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int, int, str]:
    """Return thumbnail, width, height and border of an image (3, H, W)."""
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(small), image.width, image.height, _border(pixels)


def _border(pixels: NDArray[np.uint8]) -> str:
    """Return the colour of the outermost pixels, "" if they differ."""
    edges = (pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1])
    ring = np.concatenate(edges, axis=1)
    low, high = ring.min(1).astype(int), ring.max(1).astype(int)
    if (high - low).max() > EVEN:
        return ""
    middle = (low + high) // 2
    if middle.min() >= 255 - EVEN or middle.max() <= EVEN:
        return "white" if middle.min() > EVEN else "black"
    return "#" + "".join(f"{min(round(value / STEP) * STEP, 255):02x}" for value in middle)
