"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32x32 pixels.

The originals are pickles, which can run code. So each file is read once, those bytes are verified against
torchvision's checksums, and parsed by an unpickler that can only make numpy arrays. An archive is read in
place. torchvision's own reader unpacks it, and unpickles without restriction a file that it opens again
after verifying it.
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

from imclass.config.schema import DatasetConfig
from imclass.data.dataset import Dataset, Split
from imclass.data.sources import REMEDY, Source, data_roots, download, is_file
from imclass.errors import UserError

LARGEST = 256 << 20  # bytes of one batch file; the largest, CIFAR-100's `train`, has 155 million
LARGEST_ARCHIVE = 1 << 30  # unpacked bytes read while looking for the batch files; a real one has 186 million
_reconstruct = np.empty(0).__reduce__()[0]  # numpy's array constructor, which numpy 2 moved to another module


def load_cifar10(config: DatasetConfig) -> Dataset:
    """Load CIFAR-10 from the archive or its unpacked folder, downloading the archive if need be.

    `files` has each image's batch file (data_batch_1 .. data_batch_5, test_batch). Raises UserError when
    the data cannot be found or downloaded, and when a file has other contents.
    """
    return _load(config, CIFAR10, "10", b"labels")


def load_cifar100(config: DatasetConfig) -> Dataset:
    """Load CIFAR-100 with its 100 fine classes; otherwise as `load_cifar10`."""
    return _load(config, CIFAR100, "100", b"fine_labels")


def _load(config: DatasetConfig, source: type[CIFAR10], classes: str, label_key: bytes) -> Dataset:
    checksums = dict([*source.train_list, *source.test_list])
    checksums[source.meta["filename"]] = source.meta["md5"]
    subfolders = (".", f"cifar{classes}", f"cifar-{classes}", f"CIFAR{classes}")
    folders = [base / sub for base in data_roots(config.root) for sub in subfolders]
    where = _find(folders, source, checksums) or _download(config, source)
    contents = _read_folder(where, checksums) if where.is_dir() else _read_archive(where, source, checksums)
    parsed = {name: _parse(content, where / name) for name, content in contents.items()}
    train, test = (
        _join({name: parsed[name] for name, _ in batches}, label_key)
        for batches in (source.train_list, source.test_list)
    )
    names = parsed[source.meta["filename"]][source.meta["key"].encode()]
    return Dataset(train, test, tuple(name.decode() for name in names))


def _join(batches: Mapping[str, dict[bytes, Any]], label_key: bytes) -> Split:
    """Join batches {b'data': uint8 (N, 3072), label_key: N ints} in order."""
    images = torch.from_numpy(np.concatenate([batch[b"data"] for batch in batches.values()]))
    labels = torch.tensor([label for batch in batches.values() for label in batch[label_key]])
    files = tuple(name for name, batch in batches.items() for _ in batch[label_key])
    return Split(images.view(-1, 3, 32, 32), labels, files)


def _find(folders: list[Path], source: type[CIFAR10], checksums: Mapping[str, str]) -> Path | None:
    """Return the first complete unpacked folder or archive: an interrupted unpacking does not count."""
    for folder in folders:
        for unpacked in (folder / source.base_folder, folder):
            if all(is_file(unpacked / name) for name in checksums):
                return unpacked
        if is_file(folder / source.filename):
            return folder / source.filename
    return None


def _download(config: DatasetConfig, source: type[CIFAR10]) -> Path:
    archive = data_roots(config.root)[0] / source.filename

    def verify(path: Path) -> None:
        _verified(path.read_bytes(), source.tgz_md5, path)

    download(config, archive.parent, {archive.name: Source([source.url], verify)})
    return archive


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
        raise pickle.UnpicklingError(f"refused to load {module}.{name}")


def _parse(content: bytes, path: Path) -> dict[bytes, Any]:
    """Unpickle one file. encoding='bytes': Python 2 wrote it."""
    try:
        parsed = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # hostile pickles raise anything
        raise UserError(f"{path}: not a CIFAR file ({error})") from error
    if not isinstance(parsed, dict):
        raise UserError(f"{path}: not a CIFAR file (a dict was expected)")
    return parsed
