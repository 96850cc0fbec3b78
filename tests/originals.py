"""Files in the exact formats of their sources: batches of CIFAR, and weights in torchvision's layout."""

import hashlib
import io
import pickle
import shutil
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor

SOURCES = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}


_Pickler: Any = pickle._Pickler  # in Python, so that it can be changed


class Python2Pickler(_Pickler):
    """Writes bytes as Python 2 did its strings, like the originals: torchvision's reader needs that."""

    dispatch = _Pickler.dispatch.copy()

    def save_bytes(self, value: bytes) -> None:
        short = len(value) < 256
        self.write(
            (b"U" + struct.pack("<B", len(value)) if short else b"T" + struct.pack("<i", len(value))) + value
        )
        self.memoize(value)

    dispatch[bytes] = save_bytes


def python2_pickle(value: Any) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(value)
    return file.getvalue()


def make_cifar(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, count: int = 7
) -> dict[str, dict[bytes, Any]]:
    """Write a small CIFAR, `count` images a file, in the exact format; torchvision gets their checksums."""
    source = SOURCES[name]
    rng = np.random.default_rng(0)
    classes = 10 if name == "cifar10" else 100
    batches: dict[str, dict[bytes, Any]] = {}
    for file, _ in [*source.train_list, *source.test_list]:
        labels = rng.integers(0, classes, count).tolist()
        batches[file] = {
            b"data": rng.integers(0, 256, (count, 3072), dtype=np.uint8),
            b"batch_label": file.encode(),
            b"filenames": [b"%d.png" % i for i in range(count)],
            **(
                {b"labels": labels}
                if classes == 10
                else {b"fine_labels": labels, b"coarse_labels": [0] * count}
            ),
        }
    meta = {source.meta["key"].encode(): [b"class%d" % i for i in range(classes)], b"num_vis": 3072}
    contents = {file: python2_pickle(batch) for file, batch in batches.items()}
    contents[source.meta["filename"]] = python2_pickle(meta)
    folder = folder / source.base_folder
    folder.mkdir(parents=True)
    for file, content in contents.items():
        (folder / file).write_bytes(content)
    accept(name, folder, monkeypatch)
    return batches


def accept(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = SOURCES[name]
    md5 = {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    monkeypatch.setattr(source, "train_list", [[file, md5[file]] for file, _ in source.train_list])
    monkeypatch.setattr(source, "test_list", [[file, md5[file]] for file, _ in source.test_list])
    monkeypatch.setattr(source, "meta", {**source.meta, "md5": md5[source.meta["filename"]]})


def pack(name: str, root: Path, extra: list[tarfile.TarInfo] | None = None) -> Path:
    """Turn the unpacked folder into the archive."""
    source = SOURCES[name]
    with tarfile.open(root / source.filename, "w:gz") as archive:
        for member in extra or []:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
        archive.add(root / source.base_folder, source.base_folder)
    shutil.rmtree(root / source.base_folder)
    return root / source.filename


def cache_weights(hub: Path, name: str, **options: object) -> dict[str, Tensor]:
    """Write random weights where torch looks for the downloaded ones of `name`."""
    state: dict[str, Tensor] = torchvision.models.get_model(name, **options).state_dict()
    torch.save(state, hub / Path(torchvision.models.get_model_weights(name).DEFAULT.url).name)
    return state
