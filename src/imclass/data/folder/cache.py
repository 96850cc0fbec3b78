"""A cache of decoded images: a folder of many small files loads in a second the next time."""

import contextlib
import hashlib
import io
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from imclass.runs.atomic import replacing, sweep_debris, sync
from imclass.runs.locks import locked
from imclass.runs.regular import open_regular

_warn_once = cache(logging.getLogger(__name__).warning)

FORMAT = 2  # increment it when the same files give other pixels, or are cached in another form
DIGEST_SIZE = hashlib.sha256().digest_size
PIECE = 1 << 26  # bytes hashed at once: signals are answered in between

Chunks = Iterable[NDArray[np.uint8]]
Shape = tuple[int, ...]


def cache_folder() -> Path:
    """Return $IMCLASS_CACHE or ~/.cache/imclass."""
    configured = os.environ.get("IMCLASS_CACHE")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "imclass"


def cache_key(*parts: object) -> str:
    """Return the sha256 (hex) of everything that the cached pixels depend on, plain values."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def folder_key(root: Path, use: str | int | None, files: Sequence[object]) -> str:
    """Return the key of what is made of these files. use: a side in pixels, None, or another purpose."""
    return cache_key(FORMAT, PIL.__version__, str(root.resolve()), use, files)


def cached_images(key: str, make: Callable[[], tuple[Shape, Chunks]]) -> NDArray[np.uint8]:
    """Return the array cached under `key`, memory-mapped; the first time, `make` it.

    make: returns the shape (N, C, H, W) and chunks along N. One process makes the array, under a lock; the
    others wait. Without a usable cache folder (read-only, full) it is made in memory.
    """
    return _cached(f"{key}.npy", make)


def cached_text(key: str, make: Callable[[], str]) -> str:
    """Return the text cached under `key`, as `cached_images` does."""

    def encoded() -> tuple[Shape, Chunks]:
        text = np.frombuffer(make().encode(), np.uint8)
        return text.shape, [text]

    return _cached(f"{key}.text", encoded).tobytes().decode()


def _cached(name: str, make: Callable[[], tuple[Shape, Chunks]]) -> NDArray[np.uint8]:
    try:
        file = cache_folder() / name
        found = _load(file)
        if found is None:
            with _only_one(file):
                found = _load(file)  # another process may have made it
                if found is None:
                    _write(file, *make())
                    found = _load(file)
        if found is not None:
            return found
        _warn_once(f"images are not cached: {file} cannot be read back")
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
        _warn_once(f"images are not cached ({error}); set IMCLASS_CACHE to a folder with space")
    return _in_memory(*make())


@contextlib.contextmanager
def _only_one(file: Path) -> Iterator[None]:
    """Within the block, no other process makes `file`; what killed ones left of it is swept."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(file.with_suffix(".lock"), required=False):
        sweep_debris(file.parent, file.name)
        yield


def _load(file: Path) -> NDArray[np.uint8] | None:
    """Map the array in `file`; None if there is none, or it is not what was written."""
    try:
        with open_regular(file) as opened:
            content = np.memmap(opened, np.uint8, mode="r")  # raises ValueError for an empty file
            digest = hashlib.sha256()
            for start in range(0, len(content) - DIGEST_SIZE, PIECE):
                digest.update(content[start : min(start + PIECE, len(content) - DIGEST_SIZE)].data)
            if digest.digest() != content[-DIGEST_SIZE:].tobytes():
                raise ValueError("wrong digest")
            opened.seek(0)
            np.lib.format.read_magic(opened)
            shape, _, _ = np.lib.format.read_array_header_1_0(opened)
            return content[opened.tell() : -DIGEST_SIZE].reshape(shape)
    except FileNotFoundError:
        return None
    except ValueError:
        _warn_once(f"{file} is damaged; decoding the images again")
        return None


def _write(file: Path, shape: Shape, chunks: Chunks) -> None:
    """Write a .npy file, then the SHA-256 of all that.

    Sequentially, not through a memory map: a full disk is then an error, not a crash.
    """
    with replacing(file) as temporary:
        temporary.touch(0o600)  # the pictures' folder may be private
        with temporary.open("wb") as output:
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(
                header, {"descr": "|u1", "fortran_order": False, "shape": shape}
            )
            digest = hashlib.sha256()
            for part in chain([header.getbuffer()], (np.ascontiguousarray(chunk).data for chunk in chunks)):
                output.write(part)
                digest.update(part)
            output.write(digest.digest())
        sync(temporary)


def _in_memory(shape: Shape, chunks: Chunks) -> NDArray[np.uint8]:
    images = np.empty(shape, np.uint8)
    start = 0
    for chunk in chunks:
        images[start : start + len(chunk)] = chunk
        start += len(chunk)
    return images
