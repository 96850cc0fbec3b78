"""Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747), all of it or the bundled tenth.

70,000 greyscale images of 28x28 pixels, 10 classes, in four idx files, plain or gzipped. The checksums are
of the uncompressed contents, so that a recompressed copy passes. torchvision's reader would read the file
again after checking it.
"""

import hashlib
import math
import struct
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets import FashionMNIST

from imclass.config.schema import DatasetConfig
from imclass.data.dataset import Dataset, Split
from imclass.data.gunzip import Gunzip
from imclass.data.sources import REMEDY, Source, data_roots, download, is_file
from imclass.errors import UserError
from imclass.runs.regular import open_regular

CLASSES = tuple(FashionMNIST.classes)
SIDE = 28
SUBFOLDERS = (".", "FashionMNIST/raw", "fashion-mnist", "fashion_mnist")
BUNDLED = Path(__file__).parent / "bundled" / "fashion_mnist_mini"

# torchvision's mirror has no https, and its download_url falls back to http.
MIRRORS = (
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
)

OFFICIAL = {  # sha256 of the uncompressed contents
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
MINI = {  # written by scripts/data/make_fashion_mnist_mini.py
    "train-images-idx3-ubyte": "cf313073c7eb485392848071d5c433571d7166043e971e3345b095cc30518084",
    "train-labels-idx1-ubyte": "097b93fbcf9bd5bc648b1a457ddc55c9e4ab49afb33f9ecae8ce068399a75e3a",
    "t10k-images-idx3-ubyte": "7cee33c3c6414b1b86c25e665a6c4f41584269de3b7cc9768b1d351922845eef",
    "t10k-labels-idx1-ubyte": "3128d790775889812b73c4f13923559c8b9e281d112c6ea7862acf60a206a909",
}
LARGEST = 50_000_000  # bytes; the largest file has 47,040,016


def load_fashion_mnist(config: DatasetConfig) -> Dataset:
    """Load all 60,000 + 10,000 images, downloading them if they are not on this machine.

    Raises UserError when they cannot be found or downloaded, and when a file has other contents.
    """
    return load_idx_folder(_find(config.root) or _download(config), OFFICIAL)


def load_fashion_mnist_mini(config: DatasetConfig) -> Dataset:
    """Load the bundled 6,000 + 1,000 images: 600 and 100 of each class. `config.root` is ignored."""
    return load_idx_folder(BUNDLED, MINI, remedy="reinstall imclass")


def damaged_files(config: DatasetConfig) -> dict[Path, str]:
    """Return {path: problem} of the files that are there and damaged."""
    folder, damaged = _find(config.root), {}
    if folder is None:
        return {}
    for name, digest in OFFICIAL.items():
        file = idx_file(folder, name)
        try:
            read_verified(file, digest)
        except UserError as error:
            damaged[file] = str(error).removeprefix(f"{file}: ")
    return damaged


def load_idx_folder(folder: Path, checksums: Mapping[str, str], *, remedy: str = REMEDY) -> Dataset:
    """Read the four files named by `checksums` from `folder`, verified, plain or gzipped.

    remedy: what the UserError about a missing or damaged file advises.
    """
    arrays = {
        name: parse_idx(read_verified(idx_file(folder, name), digest, remedy))
        for name, digest in checksums.items()
    }
    train, test = (
        Split(arrays[f"{part}-images-idx3-ubyte"].unsqueeze(1), arrays[f"{part}-labels-idx1-ubyte"].long())
        for part in ("train", "t10k")
    )
    return Dataset(train, test, CLASSES)


def read_verified(path: Path, sha256: str, remedy: str = REMEDY) -> bytes:
    """Return the uncompressed contents of `path`. Raises UserError unless their digest is `sha256`."""
    try:
        with open_regular(path) as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            content = Gunzip(file, LARGEST).read() if packed else file.read(LARGEST)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); {remedy}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(
            f"{path}: damaged or of another data set (its contents have the wrong checksum); {remedy}"
        )
    return content


def parse_idx(content: bytes) -> Tensor:
    """Return the uint8 array of an idx file: two zero bytes, type 8, rank, big-endian sizes, values.

    Raises ValueError for anything else.
    """
    rank = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    start = 4 + 4 * rank
    if not 1 <= rank <= 4 or len(content) < start:
        raise ValueError("not an idx file of bytes")
    shape = struct.unpack_from(f">{rank}I", content, 4)
    if 0 in shape or math.prod(shape) != len(content) - start:
        raise ValueError(f"{len(content) - start} bytes where an idx file of {shape} has {math.prod(shape)}")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).view(shape)


def idx_file(folder: Path, name: str) -> Path:
    """Return the plain file if there is one, else the gzipped one."""
    plain = folder / name
    return plain if is_file(plain) else folder / f"{name}.gz"


def _find(root: str | None) -> Path | None:
    """Return the first folder that has all four files."""
    folders = (base / sub for base in data_roots(root) for sub in SUBFOLDERS)
    return next((folder for folder in folders if not _missing(folder)), None)


def _missing(folder: Path) -> list[str]:
    return [name for name in OFFICIAL if not is_file(idx_file(folder, name))]


def _download(config: DatasetConfig) -> Path:
    folder = data_roots(config.root)[0] / "FashionMNIST" / "raw"  # torchvision's place for them
    sources = {
        f"{name}.gz": Source(
            [f"{mirror}{name}.gz" for mirror in MIRRORS],
            LARGEST,
            partial(read_verified, sha256=OFFICIAL[name]),
        )
        for name in _missing(folder)
    }
    download(config, folder, sources)
    return folder
