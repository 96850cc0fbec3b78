"""A cache of decoded images: a folder of many small files loads in a second the next time."""

import contextlib
import hashlib
import io
import json
import logging
import math
import mmap
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL
from numpy.typing import NDArray

from imclass.config.run_names import user_path
from imclass.data.mapped import MappedFile
from imclass.runs.atomic import sync
from imclass.runs.locks import locked
from imclass.runs.regular import open_regular

_warn_once = cache(logging.getLogger(__name__).warning)

FORMAT = 3  # increment it when the same files give other pixels, or are cached in another form
DIGEST_SIZE = hashlib.sha256().digest_size
PIECE = 1 << 26  # bytes hashed at once: signals are answered in between
AT_ONCE = 512  # images made between two writes

Shape = tuple[int, ...]
Part = Callable[[int, int], NDArray[np.uint8]]  # start, stop -> those of all images
Make = Callable[[], tuple[Shape, Part]]
Cached = tuple[NDArray[np.uint8], MappedFile | None]


def cache_folder() -> Path:
    """Return $IMCLASS_CACHE or ~/.cache/imclass."""
    configured = os.environ.get("IMCLASS_CACHE")
    return user_path(configured) if configured else Path.home() / ".cache" / "imclass"


def cache_key(*parts: object) -> str:
    """Return the sha256 (hex) of everything that the cached pixels depend on, plain values."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def folder_key(root: Path, use: object, files: Sequence[object]) -> str:
    """Return the key of what is made of these files. use: the purpose, and the settings it depends on."""
    return cache_key(FORMAT, PIL.__version__, str(root.resolve()), use, files)


def cached_images(key: str, make: Make) -> Cached:
    """Return the array cached under `key` and the file that it is mapped from; the first time, `make` it.

    make: returns the shape (N, C, H, W), and a function (start, stop) -> images[start:stop]. One process
    makes the array, under a lock; the others wait. What a killed process had made is kept. Without a usable
    cache folder (read-only, full) the array is made in memory, and the file is None.
    """
    return _cached(f"{key}.npy", make)


def cached_text(key: str, make: Callable[[], str]) -> str:
    """Return the text cached under `key`, as `cached_images` does."""

    def encoded() -> tuple[Shape, Part]:
        text = np.frombuffer(make().encode(), np.uint8)
        return text.shape, lambda start, stop: text[start:stop]

    text, _ = _cached(f"{key}.text", encoded)
    return text.tobytes().decode()


def _cached(name: str, make: Make) -> Cached:
    try:
        file = cache_folder() / name
        found = _load(file)
        if found is None:
            with _only_one(file) as part:
                found = _load(file)  # another process may have made it
                if found is None:
                    _write(file, part, *make())
                    found = _load(file)
        if found is not None:
            return found
        _warn_once(f"images are not cached: {file} cannot be read back")
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
        _warn_once(f"images are not cached ({error}); set IMCLASS_CACHE to a folder with space")
    return _in_memory(*make()), None


@contextlib.contextmanager
def _only_one(file: Path) -> Iterator[Path]:
    """Yield where to make `file`; within the block, no other process writes there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(file.with_suffix(".lock"), required=False) as alone:
        yield file.with_suffix(".part" if alone else f".{secrets.token_hex(4)}.part")


def _load(file: Path) -> Cached | None:
    """Map the array in `file`; None if there is none, or it is not what was written."""
    try:
        with open_regular(file) as opened:
            mapped = MappedFile(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
            content = mapped.content
            digest = hashlib.sha256()
            for start in range(0, len(content) - DIGEST_SIZE, PIECE):
                digest.update(content[start : min(start + PIECE, len(content) - DIGEST_SIZE)].data)
            if digest.digest() != content[-DIGEST_SIZE:].tobytes():
                raise ValueError("wrong digest")
            opened.seek(0)
            np.lib.format.read_magic(opened)
            shape, _, _ = np.lib.format.read_array_header_1_0(opened)
            return content[opened.tell() : -DIGEST_SIZE].reshape(shape), mapped
    except FileNotFoundError:
        return None
    except ValueError:  # mmap raises it too, for an empty file
        _warn_once(f"{file} is damaged; decoding the images again")
        return None


def _write(file: Path, part: Path, shape: Shape, images: Part) -> None:
    """Write a .npy file, then the SHA-256 of all that, into `part`; then rename it to `file`.

    A process that is killed leaves `part` and the SHA-256 of each of its chunks: the next one continues it.
    Sequentially, not through a memory map: a full disk is then an error, not a crash.
    """
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    sums = part.with_suffix(".sums")
    try:
        for made in (part, sums):
            made.touch(0o600)  # the pictures' folder may be private
        with part.open("r+b") as output, sums.open("r+b") as log:
            start, digest = _resume(output, log, header.getvalue(), AT_ONCE * math.prod(shape[1:]))
            for first in range(start * AT_ONCE, shape[0], AT_ONCE):
                chunk = np.ascontiguousarray(images(first, min(first + AT_ONCE, shape[0]))).data
                output.write(chunk)
                output.flush()
                log.write(hashlib.sha256(chunk).digest())
                log.flush()
                digest.update(chunk)
            output.write(digest.digest())
        sync(part)
        part.replace(file)
        sums.unlink()
    except Exception as error:  # not a signal's
        for made in (part, sums):
            made.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(file)
        raise


def _resume(output: BinaryIO, log: BinaryIO, header: bytes, size: int) -> "tuple[int, hashlib._Hash]":
    """Return how many chunks of `size` bytes are whole, and the digest so far; cut both files behind them."""
    whole, digest = 0, hashlib.sha256(header)
    if output.read(len(header)) != header:
        output.seek(0)
        output.write(header)
    else:
        while expected := log.read(DIGEST_SIZE):
            chunk = output.read(size)
            if hashlib.sha256(chunk).digest() != expected:
                break
            digest.update(chunk)
            whole += 1
    for file, end in ((output, len(header) + whole * size), (log, whole * DIGEST_SIZE)):
        file.truncate(end)
        file.seek(end)
    return whole, digest


def _in_memory(shape: Shape, images: Part) -> NDArray[np.uint8]:
    whole = np.empty(shape, np.uint8)
    for start in range(0, shape[0], AT_ONCE):
        whole[start : start + AT_ONCE] = images(start, min(start + AT_ONCE, shape[0]))
    return whole
