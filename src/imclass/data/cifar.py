"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32x32 pixels.

The originals are pickles, which can run code. So each file is read once, those bytes are verified against
torchvision's checksums, and parsed by an unpickler that knows no callable but two of ours, which stand in
for numpy's. An archive is read in place. torchvision's own reader unpacks it, and unpickles without
restriction a file that it opens again after verifying it.
"""

import hashlib
import io
import pickle
import pickletools
import tarfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from imclass.config.schema import DatasetConfig
from imclass.data.dataset import Dataset, Split
from imclass.data.gunzip import Gunzip
from imclass.data.sources import REMEDY, Source, data_roots, download, is_file
from imclass.errors import UserError, first_line
from imclass.runs.regular import open_regular

LARGEST = 256 << 20  # bytes of one batch file; the largest, CIFAR-100's `train`, has 155 million
LARGEST_ARCHIVE = 256 << 20  # bytes, packed or unpacked; a real one has 170 and 186 million
MOST_MEMBERS = 100  # that are looked at; a real archive has 9


def load_cifar10(config: DatasetConfig) -> Dataset:
    """Load CIFAR-10 from the archive or its unpacked folder, downloading the archive if need be.

    `files` has each image's batch file (data_batch_1 .. data_batch_5, test_batch). Raises UserError when
    the data cannot be found or downloaded, and when a file has other contents.
    """
    return _load(config, CIFAR10, "10", b"labels")


def load_cifar100(config: DatasetConfig) -> Dataset:
    """Load CIFAR-100 with its 100 fine classes; otherwise as `load_cifar10`."""
    return _load(config, CIFAR100, "100", b"fine_labels")


def damaged_files(config: DatasetConfig) -> dict[Path, str]:
    """Return {path: problem} of the unpacked files that are there and damaged."""
    source, classes = {"cifar10": (CIFAR10, "10"), "cifar100": (CIFAR100, "100")}[config.name]
    where, damaged = _find(config, source, classes), {}
    if where is None or not where.is_dir():
        return {}
    for name, md5 in _checksums(source).items():
        try:
            _read_folder(where, {name: md5})
        except UserError as error:
            damaged[where / name] = str(error).removeprefix(f"{where / name}: ")
    return damaged


def _load(config: DatasetConfig, source: type[CIFAR10], classes: str, label_key: bytes) -> Dataset:
    checksums = _checksums(source)
    where = _find(config, source, classes) or _download(config, source)
    contents = _read_folder(where, checksums) if where.is_dir() else _read_archive(where, source, checksums)
    parsed = {name: _parse(content, where / name) for name, content in contents.items()}
    try:
        train, test = (
            _join({name: parsed[name] for name, _ in batches}, label_key)
            for batches in (source.train_list, source.test_list)
        )
        names = parsed[source.meta["filename"]][source.meta["key"].encode()]
        return Dataset(train, test, tuple(name.decode() for name in names))
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
        raise UserError(
            f"{where}: its files do not hold what CIFAR-{classes}'s do ({first_line(error)})"
        ) from error


def _join(batches: Mapping[str, dict[bytes, Any]], label_key: bytes) -> Split:
    """Join batches {b'data': uint8 (N, 3072), label_key: N ints} in order."""
    images = torch.from_numpy(np.concatenate([batch[b"data"] for batch in batches.values()]))
    labels = torch.tensor([label for batch in batches.values() for label in batch[label_key]])
    files = tuple(name for name, batch in batches.items() for _ in batch[label_key])
    return Split(images.view(-1, 3, 32, 32), labels, files)


def _checksums(source: type[CIFAR10]) -> dict[str, str]:
    """Return {file: md5} of the batches and of the names of the classes."""
    return dict([*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])])


def _find(config: DatasetConfig, source: type[CIFAR10], classes: str) -> Path | None:
    """Return the first complete unpacked folder or archive: an interrupted unpacking does not count."""
    subfolders = (".", f"cifar{classes}", f"cifar-{classes}", f"CIFAR{classes}")
    for folder in [base / sub for base in data_roots(config.root) for sub in subfolders]:
        for unpacked in (folder / source.base_folder, folder):
            if all(is_file(unpacked / name) for name in _checksums(source)):
                return unpacked
        if is_file(folder / source.filename):
            return folder / source.filename
    return None


def _download(config: DatasetConfig, source: type[CIFAR10]) -> Path:
    archive = data_roots(config.root)[0] / source.filename

    def verify(path: Path) -> None:
        _verified(path.read_bytes(), source.tgz_md5, path)

    download(config, archive.parent, {archive.name: Source([source.url], LARGEST_ARCHIVE, verify)})
    return archive


def _read_folder(folder: Path, checksums: Mapping[str, str]) -> dict[str, bytes]:
    contents = {}
    for name, md5 in checksums.items():
        try:
            with open_regular(folder / name) as file:
                contents[name] = _verified(file.read(LARGEST), md5, folder / name)
        except OSError as error:
            raise UserError(f"{folder / name}: cannot be read ({error})") from error
    return contents


def _read_archive(archive: Path, source: type[CIFAR10], checksums: Mapping[str, str]) -> dict[str, bytes]:
    """Return the verified bytes of the expected members, whatever else the archive may hold."""
    contents: dict[str, bytes] = {}
    try:
        with open_regular(archive) as file, _members(file) as members:
            for member in islice(members, MOST_MEMBERS):
                if member.offset_data + member.size > LARGEST_ARCHIVE:
                    break  # tarfile would take a minute to skip it, even where the file ends before
                folder, _, name = member.name.rpartition("/")
                if folder != source.base_folder or name not in checksums:
                    continue
                if not member.isreg() or member.issparse() or member.size > LARGEST:
                    continue
                content = members.extractfile(member)
                assert content is not None  # a regular file
                contents[name] = _verified(content.read(), checksums[name], archive / member.name)
                if len(contents) == len(checksums):
                    return contents
    except UserError:
        raise
    except Exception as error:  # on hostile archives, tarfile raises nearly anything
        raise UserError(f"{archive}: damaged ({first_line(error)}); {REMEDY}") from error
    missing = ", ".join(sorted(set(checksums) - set(contents)))
    raise UserError(f"{archive}: not the original archive, it lacks {missing}; {REMEDY}")


def _members(file: BinaryIO) -> tarfile.TarFile:
    """Open an archive as a stream: each member is read as it passes, none beyond LARGEST_ARCHIVE."""
    return tarfile.open(fileobj=Gunzip(file, LARGEST_ARCHIVE), mode="r|")


def _verified(content: bytes, md5: str, path: Path) -> bytes:
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise UserError(f"{path}: damaged or not the original (wrong checksum); {REMEDY}")
    return content


class _Array:
    """Takes numpy's place while an array is unpickled: state in, uint8 array out."""

    def __init__(self, *_: Any):
        self.array = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, column_first, content = state  # version, ...
        if not isinstance(dtype, _Bytes):
            raise pickle.UnpicklingError("an array of bytes was expected")
        self.array = np.frombuffer(content, np.uint8).reshape(shape, order="F" if column_first else "C")


class _Bytes:
    """Takes the place of numpy's dtype of bytes."""

    def __init__(self, name: Any, *_: Any):
        if name not in (b"u1", "u1"):
            raise pickle.UnpicklingError(f"refused an array of {name!r}")

    def __setstate__(self, state: Any) -> None:
        """Accept what numpy wrote about byte order and fields: bytes have neither."""


class _ArrayUnpickler(pickle._Unpickler):
    """Loads dicts, lists, numbers, texts and numpy arrays of bytes; refuses everything else.

    The one written in Python, as fast on these files: in C, a memo index of 2**31 takes gigabytes. Only the
    opcodes that Python 2 wrote: a later one allocates any length that it names.
    """

    dispatch: ClassVar = {
        ord(opcode.code): pickle._Unpickler.dispatch[ord(opcode.code)]
        for opcode in pickletools.opcodes
        if opcode.proto <= 2
    }

    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case (("numpy.core.multiarray" | "numpy._core.multiarray"), "_reconstruct"):
                return _Array
            case "numpy", "ndarray":
                return None  # an argument of the former
            case "numpy", "dtype":
                return _Bytes
        raise pickle.UnpicklingError(f"refused to load {module}.{name}")


def _parse(content: bytes, path: Path) -> dict[bytes, Any]:
    """Unpickle one file. encoding='bytes': Python 2 wrote it."""
    try:
        parsed = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # hostile pickles raise anything
        raise UserError(f"{path}: not a CIFAR file ({first_line(error)})") from error
    if not isinstance(parsed, dict):
        raise UserError(f"{path}: not a CIFAR file (a dict was expected)")
    return {key: value.array if isinstance(value, _Array) else value for key, value in parsed.items()}
