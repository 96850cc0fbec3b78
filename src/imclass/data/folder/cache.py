"""A cache of decoded images: a folder of many small files loads in a second the next time."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imclass.runs.atomic import replacing, sweep_debris, sync
from imclass.runs.locks import locked

log = logging.getLogger(__name__)

Chunks = Iterable[NDArray[np.uint8]]
Shape = tuple[int, int, int, int]


def cache_folder() -> Path:
    """Return $IMCLASS_CACHE or ~/.cache/imclass."""
    configured = os.environ.get("IMCLASS_CACHE")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "imclass"


def cache_key(*parts: object) -> str:
    """Return the sha256 (hex) of everything that the cached pixels depend on, plain values."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def cached_images(key: str, make: Callable[[], tuple[Shape, Chunks]]) -> NDArray[np.uint8]:
    """Return the array cached under `key`, memory-mapped; the first time, `make` it.

    make: returns the shape (N, C, H, W) and chunks along N. One process makes the array, under a lock; the
    others wait. Without a usable cache folder (read-only, full) it is made in memory.
    """
    try:
        file = cache_folder() / f"{key}.npy"
        found = _load(file)
        if found is not None:
            return found
        file.parent.mkdir(parents=True, exist_ok=True)
        with locked(file.with_suffix(".lock"), required=False):
            found = _load(file)  # another process may have made it
            if found is not None:
                return found
            _write(file, *make())
        return np.load(file, mmap_mode="r")
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
        log.warning("images are not cached (%s); set IMCLASS_CACHE to a folder with space", error)
    return _in_memory(*make())


def cached_text(key: str, make: Callable[[], str]) -> str:
    """Return the text cached under `key`; the first time, or without a cache folder, `make` it."""
    try:
        file = cache_folder() / f"{key}.txt"
        if file.is_file():
            return file.read_text()
        text = make()
        with replacing(file) as temporary:
            temporary.write_text(text)
            sync(temporary)
    except (OSError, RuntimeError):  # the warning about the images covers this
        return make()
    return text


def _load(file: Path) -> NDArray[np.uint8] | None:
    try:
        array = np.load(file, mmap_mode="r")  # raises ValueError if the file is shorter than it says
    except FileNotFoundError:
        return None
    except (ValueError, EOFError):
        log.warning("%s is damaged; decoding the images again", file)
        return None
    return array


def _write(file: Path, shape: Shape, chunks: Chunks) -> None:
    """Write sequentially, not through a memory map: a full disk is then an error, not a crash."""
    sweep_debris(file.parent, file.name)
    with replacing(file) as temporary:
        temporary.touch(0o600)  # the pictures' folder may be private
        with temporary.open("wb") as output:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(output, header)
            for chunk in chunks:
                output.write(np.ascontiguousarray(chunk).data)
        sync(temporary)


def _in_memory(shape: Shape, chunks: Chunks) -> NDArray[np.uint8]:
    images = np.empty(shape, np.uint8)
    start = 0
    for chunk in chunks:
        images[start : start + len(chunk)] = chunk
        start += len(chunk)
    return images
