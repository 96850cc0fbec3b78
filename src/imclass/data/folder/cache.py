"""Decoded images are kept, so that a folder of small files is read in a second the next time."""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from imclass.runs.locks import locked

log = logging.getLogger(__name__)

Chunks = Iterable[NDArray[np.uint8]]
Shape = tuple[int, int, int, int]


def cache_folder() -> Path:
    """Return $IMCLASS_CACHE or ~/.cache/imclass."""
    configured = os.environ.get("IMCLASS_CACHE")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "imclass"


def cache_key(*parts: object) -> str:
    """Return the sha256 (hex) of plain values: whatever the cached pixels depend on."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def cached_images(key: str, make: Callable[[], tuple[Shape, Chunks]]) -> NDArray[np.uint8]:
    """Return the array cached under `key`, memory-mapped; the first time, `make` it.

    make: returns the shape (N, C, H, W) and chunks that make it up along N; not called if the cache has
    the array. Of several processes one makes it, under a lock; the others wait. It gets its name once it
    is whole. Without a usable cache folder (read-only, full) the array is made in memory.
    """
    try:
        file = cache_folder() / f"{key}.npy"
        found = _load(file)
        if found is not None:
            return found
        file.parent.mkdir(parents=True, exist_ok=True)
        with locked(file.with_suffix(".lock"), required=False):
            found = _load(file)  # made by another process while this one waited
            if found is not None:
                return found
            _write(file, *make())
        return np.load(file, mmap_mode="r")
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
        log.warning("images are not cached (%s); set IMCLASS_CACHE to a folder with space", error)
    return _in_memory(*make())


def cached_text(key: str, make: Callable[[], str]) -> str:
    """Return the text cached under `key`; the first time, `make` it. Without a cache folder, always."""
    try:
        file = cache_folder() / f"{key}.txt"
        if file.is_file():
            return file.read_text()
        text = make()
        with _replacing(file) as output:
            output.write(text.encode())
    except (OSError, RuntimeError):  # said already, about the images
        return make()
    return text


def _load(file: Path) -> NDArray[np.uint8] | None:
    try:
        array = np.load(file, mmap_mode="r")  # raises ValueError if the file is shorter than it says
    except FileNotFoundError:
        return None
    except (ValueError, EOFError):
        log.warning("%s is damaged; it is made again", file)
        return None
    return array


def _write(file: Path, shape: Shape, chunks: Chunks) -> None:
    """Write sequentially rather than through a memory map: a full disk is then an error, not a crash."""
    for debris in file.parent.glob(f".{file.name}.*"):
        debris.unlink()  # of a process that was killed: its lock is ours now
    with _replacing(file) as output:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(output, header)
        for chunk in chunks:
            output.write(np.ascontiguousarray(chunk).data)


@contextmanager
def _replacing(file: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that becomes `file` at the end, or vanishes after an exception."""
    handle, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as output:
            yield output
            output.flush()
            os.fsync(output.fileno())
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _in_memory(shape: Shape, chunks: Chunks) -> NDArray[np.uint8]:
    images = np.empty(shape, np.uint8)
    start = 0
    for chunk in chunks:
        images[start : start + len(chunk)] = chunk
        start += len(chunk)
    return images
