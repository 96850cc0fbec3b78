"""A cache of decoded images: a folder of many small files loads in a second the next time."""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from imclass.runs.atomic import replacing, sweep_debris, sync
from imclass.runs.locks import locked
from imclass.runs.regular import open_regular

log = logging.getLogger(__name__)

FORMAT = 1  # increment it when the same files give other pixels

Chunks = Iterable[NDArray[np.uint8]]
Shape = tuple[int, int, int, int]


def cache_folder() -> Path:
    """Return $IMCLASS_CACHE or ~/.cache/imclass."""
    configured = os.environ.get("IMCLASS_CACHE")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "imclass"


def cache_key(*parts: object) -> str:
    """Return the sha256 (hex) of everything that the cached pixels depend on, plain values."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def folder_key(root: Path, use: str | int | None, files: Sequence[object]) -> str:
    """Return the key of what is made of these files of a folder; `use` says what that is."""
    return cache_key(FORMAT, PIL.__version__, str(root.resolve()), use, files)


def cached_images(key: str, make: Callable[[], tuple[Shape, Chunks]]) -> NDArray[np.uint8]:
    """Return the array cached under `key`, memory-mapped; the first time, `make` it.

    make: returns the shape (N, C, H, W) and chunks along N. One process makes the array, under a lock; the
    others wait. Without a usable cache folder (read-only, full) it is made in memory.
    """
    try:
        file = cache_folder() / f"{key}.npy"
        found = _load(file)
        if found is None:
            with _only_one(file):
                found = _load(file)  # another process may have made it
                if found is None:
                    _write(file, *make())
                    found = _load(file)
        if found is not None:
            return found
        log.warning("images are not cached: %s cannot be read back", file)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
        log.warning("images are not cached (%s); set IMCLASS_CACHE to a folder with space", error)
    return _in_memory(*make())


def cached_text(key: str, make: Callable[[], str]) -> str:
    """Return the text cached under `key`; the first time, or without a cache folder, `make` it.

    One process makes it; the others wait.
    """
    try:
        file = cache_folder() / f"{key}.txt"
        if file.is_file():
            return file.read_text()
        with _only_one(file):
            if file.is_file():
                return file.read_text()
            text = make()
            with replacing(file) as temporary:
                temporary.write_text(text)
                sync(temporary)
    except (OSError, RuntimeError):  # the warning about the images covers this
        return make()
    return text


@contextlib.contextmanager
def _only_one(file: Path) -> Iterator[None]:
    """Within the block, no other process makes `file`; what killed ones left of it is swept."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(file.with_suffix(".lock"), required=False):
        sweep_debris(file.parent, file.name)
        yield


def _load(file: Path) -> NDArray[np.uint8] | None:
    """Map the array in `file`; None if there is none, or the file is damaged."""
    try:
        with open_regular(file):
            array = np.load(file, mmap_mode="r")  # raises ValueError if the file is shorter than it says
    except FileNotFoundError:
        return None
    except (ValueError, EOFError):
        array = None
    if array is None or array.dtype != np.uint8 or array.ndim != 4:
        log.warning("%s is damaged; decoding the images again", file)
        return None
    return array


def _write(file: Path, shape: Shape, chunks: Chunks) -> None:
    """Write sequentially, not through a memory map: a full disk is then an error, not a crash."""
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
