"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 colour pictures of 32x32 pixels.

The originals are Python pickles, which can run code. Each file is therefore read once, its bytes are
checked against torchvision's checksums, and those bytes are parsed by an unpickler that knows only how
to make numpy arrays. The archive is read in place; nothing is unpacked to disk.
"""

import hashlib
import io
import pickle
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets.utils import check_integrity

from imclass.config.schema import DatasetConfig
from imclass.data.dataset import Dataset, Split
from imclass.data.sources import data_roots, download_root, fetch, is_file, not_found
from imclass.errors import UserError

_reconstruct = np.empty(0).__reduce__()[0]  # numpy's array constructor, which numpy 2 moved to another module
REMEDY = "delete it to have it fetched again"
LARGEST = 256 << 20  # bytes of one batch file; the largest, CIFAR-100's `train`, has 155 million
LARGEST_ARCHIVE = 1 << 30  # unpacked bytes read while looking for the batch files; a real one has 186 million


def load_cifar10(config: DatasetConfig) -> Dataset:
    """Load CIFAR-10 from the archive or its unpacked folder, downloading the archive if need be.

    `files` has each image's batch file (data_batch_1 .. data_batch_5, test_batch). Raises UserError when
    the data cannot be found or fetched, or when a file has other contents.
    """
    return _load(config, CIFAR10, subfolders=(".", "cifar10", "cifar-10", "CIFAR10"), label_key=b"labels")


def load_cifar100(config: DatasetConfig) -> Dataset:
    """Load CIFAR-100 with its 100 fine classes; otherwise as `load_cifar10`."""
    return _load(
        config, CIFAR100, subfolders=(".", "cifar100", "cifar-100", "CIFAR100"), label_key=b"fine_labels"
    )


def _load(
    config: DatasetConfig, source: type[CIFAR10], subfolders: tuple[str, ...], label_key: bytes
) -> Dataset:
    checksums = dict([*source.train_list, *source.test_list])
    checksums[source.meta["filename"]] = source.meta["md5"]
    where = _find(config.root, source, subfolders, checksums)
    if where is None:
        where = _download(config, source)
    contents = _read_folder(where, checksums) if where.is_dir() else _read_archive(where, source, checksums)
    parsed = {name: _parse(content, where, name) for name, content in contents.items()}
    try:
        names = parsed[source.meta["filename"]][source.meta["key"].encode()]
        classes = tuple(name.decode() for name in names)
        train, test = (
            _split({name: parsed[name] for name, _ in batches}, label_key)
            for batches in (source.train_list, source.test_list)
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{where}: not the layout of {source.__name__} ({error!r})") from error
    return Dataset(train, test, classes)


def _split(batches: Mapping[str, dict[bytes, Any]], label_key: bytes) -> Split:
    """Join batches {b'data': uint8 (N, 3072), label_key: N ints} in order."""
    data = np.concatenate([batch[b"data"] for batch in batches.values()])
    labels = torch.tensor(
        [label for batch in batches.values() for label in batch[label_key]], dtype=torch.int64
    )
    files = tuple(name for name, batch in batches.items() for _ in batch[label_key])
    if data.dtype != np.uint8 or data.shape != (len(labels), 3 * 32 * 32):
        raise ValueError(f"{data.dtype} data of shape {data.shape} with {len(labels)} labels")
    return Split(torch.from_numpy(data).view(-1, 3, 32, 32), labels, files)


def _find(
    root: str | None, source: type[CIFAR10], subfolders: tuple[str, ...], checksums: Mapping[str, str]
) -> Path | None:
    """Return the first complete unpacked folder or archive: an interrupted unpacking does not count."""
    for folder in (base / sub for base in data_roots(root) for sub in subfolders):
        for unpacked in (folder / source.base_folder, folder):
            if all(is_file(unpacked / name) for name in checksums):
                return unpacked
        if is_file(folder / source.filename):
            return folder / source.filename
    return None


def _read_folder(folder: Path, checksums: Mapping[str, str]) -> dict[str, bytes]:
    contents = {}
    for name, md5 in checksums.items():
        try:
            with (folder / name).open("rb") as file:
                contents[name] = _verified(file.read(LARGEST), md5, folder / name)
        except OSError as error:
            raise UserError(f"{folder / name}: cannot be read ({error})") from error
    return contents


def _read_archive(archive: Path, source: type[CIFAR10], checksums: Mapping[str, str]) -> dict[str, bytes]:
    """Return the verified bytes of the expected members, whatever else the archive may hold."""
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r|gz") as members:  # a stream: each member is read as it passes
            for member in members:
                if member.offset_data + member.size > LARGEST_ARCHIVE:
                    break  # a bomb: do not even read past it
                folder, _, name = member.name.rpartition("/")
                expected = folder == source.base_folder and name in checksums
                if not expected or not member.isreg() or member.size > LARGEST:
                    continue
                file = members.extractfile(member)
                assert file is not None  # a regular file
                contents[name] = _verified(file.read(), checksums[name], archive / member.name)
                if len(contents) == len(checksums):
                    return contents
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"{archive}: damaged ({error}); {REMEDY}") from error
    missing = ", ".join(sorted(set(checksums) - set(contents)))
    raise UserError(f"{archive}: not the original archive, it lacks {missing}; {REMEDY}")


def _verified(content: bytes, md5: str, path: Path) -> bytes:
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise UserError(f"{path}: damaged or not the original (wrong checksum); {REMEDY}")
    return content


class _ArrayUnpickler(pickle.Unpickler):
    """Loads dicts, lists, numbers, texts and numpy arrays; refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case (("numpy.core.multiarray" | "numpy._core.multiarray"), "_reconstruct"):
                return _reconstruct
            case "numpy", "ndarray":
                return np.ndarray
            case "numpy", "dtype":
                return np.dtype
            case "_codecs", "encode":  # how Python 3 writes bytes under protocol 2
                return _encode_latin1
        raise pickle.UnpicklingError(f"refused to load {module}.{name}")


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"refused the encoding {encoding!r}")
    return text.encode("latin1")


def _parse(content: bytes, where: Path, name: str) -> dict[bytes, Any]:
    """Unpickle one file. Python 2 wrote the originals; encoding='bytes' gives b'' keys for old and new."""
    try:
        parsed = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # hostile or damaged pickles raise anything
        raise UserError(f"{where / name}: not a CIFAR file ({error})") from error
    if not isinstance(parsed, dict):
        raise UserError(f"{where / name}: not a CIFAR file (a dict was expected)")
    return parsed


def _download(config: DatasetConfig, source: type[CIFAR10]) -> Path:
    name = source.__name__.lower()
    archive = download_root(config.root) / source.filename
    if not config.download:
        raise not_found(name, config.root, [source.filename], archive.parent, "dataset.download=false")

    def verify(path: Path) -> None:
        if not check_integrity(path, source.tgz_md5):
            raise UserError(f"{path}: wrong checksum")

    try:
        fetch([source.url], archive, verify)
    except OSError as error:
        raise not_found(name, config.root, [source.filename], archive.parent, error) from error
    return archive
