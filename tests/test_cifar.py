"""CIFAR-10 and -100: exact pixels from the exact format, and nothing in a pickle or an archive is trusted."""

import gzip
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from originals import SOURCES, accept, make_cifar, pack, python2_pickle

from imclass.config.schema import DatasetConfig
from imclass.data.cifar import _parse
from imclass.data.datasets import load_dataset
from imclass.errors import UserError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a pickle might write would land in a folder of its own."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")


def fails(**settings: Any) -> str:
    with pytest.raises(UserError) as error:
        load_dataset(DatasetConfig(**settings))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("packed", [False, True])
def test_cifar_pixels_labels_and_files(
    name: str, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = make_cifar(name, tmp_path, monkeypatch)
    if packed:
        pack(name, tmp_path)
    data = load_dataset(DatasetConfig(name=name, root=str(tmp_path), download=False))
    train_files = [file for file, _ in SOURCES[name].train_list]
    assert data.train.images.shape == (7 * len(train_files), 3, 32, 32)
    assert data.train.files == tuple(file for file in train_files for _ in range(7))
    assert len(data.classes) == (10 if name == "cifar10" else 100)
    assert data.classes[1] == "class1"
    last = batches[train_files[-1]]
    labels = last[b"labels" if name == "cifar10" else b"fine_labels"]
    assert data.train.labels[-7:].tolist() == labels
    for index in range(7):
        red, green, blue = last[b"data"][index].reshape(3, 32, 32)  # the format: colour planes, row by row
        picture = data.train.images[-7 + index].numpy()
        assert (picture[0] == red).all()
        assert (picture[1] == green).all()
        assert (picture[2] == blue).all()


def test_torchvision_reads_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cifar("cifar10", tmp_path, monkeypatch)
    data = load_dataset(DatasetConfig(name="cifar10", root=str(tmp_path)))
    for train, part in ((True, data.train), (False, data.test)):
        official = torchvision.datasets.CIFAR10(tmp_path, train=train)
        assert (part.images.permute(0, 2, 3, 1).numpy() == official.data).all()
        assert part.labels.tolist() == official.targets


def test_packed_and_unpacked_cifar_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cifar("cifar10", tmp_path, monkeypatch)
    config = DatasetConfig(name="cifar10", root=str(tmp_path))
    unpacked = load_dataset(config).fingerprint
    pack("cifar10", tmp_path)
    assert load_dataset(config).fingerprint == unpacked


@pytest.mark.parametrize("module", [b"numpy._core.multiarray", b"numpy.core.multiarray"])
def test_pickles_of_both_numpys_are_read(module: bytes) -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    content = python2_pickle({b"data": array})
    content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    content = content.replace(b"numpy.core.multiarray", module)
    assert (_parse(content, Path("x"))[b"data"] == array).all()


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("executed",)


@pytest.mark.fault("S2")
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("checksum", ["wrong", "right"])
def test_malicious_cifar_is_refused_and_not_run(
    packed: bool, checksum: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cifar("cifar10", tmp_path, monkeypatch)
    folder = tmp_path / "cifar-10-batches-py"
    (folder / "data_batch_3").write_bytes(python2_pickle({b"data": Evil()}))
    if checksum == "right":
        accept("cifar10", folder, monkeypatch)
    if packed:
        pack("cifar10", tmp_path)
    message = fails(name="cifar10", root=str(tmp_path))
    assert "data_batch_3" in message
    assert ("refused to load" in message) == (checksum == "right")
    assert not Path("executed").exists()


@pytest.mark.fault("S2")
@pytest.mark.parametrize(
    "payload",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
        b"",
        b"I1\n.",
    ],
)
def test_unpickler_knows_nothing_else(
    payload: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cifar("cifar10", tmp_path, monkeypatch)
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(payload)
    accept("cifar10", tmp_path / "cifar-10-batches-py", monkeypatch)
    assert "test_batch: not a CIFAR file" in fails(name="cifar10", root=str(tmp_path))


@pytest.mark.fault("S2")
def test_corrupted_cifar_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cifar("cifar100", tmp_path, monkeypatch)
    file = tmp_path / "cifar-100-python" / "train"
    content = bytearray(file.read_bytes())
    content[500] ^= 1
    file.write_bytes(content)
    assert f"{file}: damaged" in fails(name="cifar100", root=str(tmp_path))


@pytest.mark.fault("S3")
def test_unexpected_archive_members_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cifar("cifar10", tmp_path, monkeypatch)
    link = tarfile.TarInfo("cifar-10-batches-py/test_batch")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    outside = tarfile.TarInfo("../escaped")
    absolute = tarfile.TarInfo("/tmp/escaped")
    outside.size = absolute.size = 5
    pack("cifar10", tmp_path, [link, outside, absolute])
    before = sorted(tmp_path.rglob("*"))
    assert len(load_dataset(DatasetConfig(name="cifar10", root=str(tmp_path))).test) == 7
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.fault("S3")
def test_bombs_and_damaged_archives_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cifar("cifar10", tmp_path, monkeypatch)
    archive = pack("cifar10", tmp_path)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    assert "damaged" in fails(name="cifar10", root=str(tmp_path))
    bomb = tarfile.TarInfo("bomb")
    bomb.size = 1 << 40
    archive.write_bytes(gzip.compress(bomb.tobuf()))
    assert "it lacks batches.meta" in fails(name="cifar10", root=str(tmp_path))
