"""Data sets that come as arrays: right pixels, right labels, nothing trusted, mistakes named."""

import gzip
import hashlib
import http.client
import io
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision

from imclass.config import DatasetConfig, SyntheticConfig, config_dir
from imclass.data import datasets, fashion_mnist, sources
from imclass.data.base import Dataset, Split, fingerprint
from imclass.data.datasets import DATASETS, load_dataset
from imclass.errors import UserError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
needs_fashion_mnist = pytest.mark.skipif(
    not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist"
)
SCRIPT = Path(__file__).parents[1] / "scripts" / "data" / "make_fashion_mnist_mini.py"


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data of this machine is found by chance, nothing is written outside, nothing is downloaded."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.delenv("IMCLASS_DATA", raising=False)
    monkeypatch.setattr(sources, "SYSTEM_ROOT", tmp_path / "none")

    def offline(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)


def fails(**settings: Any) -> str:
    with pytest.raises(UserError) as error:
        load_dataset(DatasetConfig(**settings))
    assert "\n" not in str(error.value)
    return str(error.value)


# --- Fashion-MNIST -------------------------------------------------------------------------------


def test_bundled_data_set_is_balanced() -> None:
    data = load_dataset(DatasetConfig())
    assert data.train.images.shape == (6000, 1, 28, 28)
    assert data.test.images.shape == (1000, 1, 28, 28)
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.dtype == torch.int64
    assert torch.bincount(data.train.labels).tolist() == [600] * 10
    assert torch.bincount(data.test.labels).tolist() == [100] * 10
    assert data.classes[9] == "Ankle boot"
    assert sum(file.stat().st_size for file in fashion_mnist.BUNDLED.iterdir()) < 4_000_000
    assert "MIT" in (fashion_mnist.BUNDLED / "LICENSE").read_text(encoding="utf-8")


def test_bundled_data_set_ignores_root_and_needs_no_network(tmp_path: Path) -> None:
    load_dataset(DatasetConfig(root=str(tmp_path / "missing"), download=False))


@needs_fashion_mnist
def test_bundled_data_are_the_first_of_each_class_of_the_official_ones(tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in DEBIAN.glob("*.gz"):
        (raw / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    full = load_dataset(DatasetConfig(name="fashion_mnist", root=str(tmp_path)))
    mini = load_dataset(DatasetConfig())
    for train, ours, small, count in (
        (True, full.train, mini.train, 600),
        (False, full.test, mini.test, 100),
    ):
        official = torchvision.datasets.FashionMNIST(tmp_path, train=train)  # an independent reader
        assert torch.equal(ours.images[:, 0], official.data)
        assert torch.equal(ours.labels, official.targets)
        first = sorted(
            i for c in range(10) for i in (official.targets == c).nonzero().flatten()[:count].tolist()
        )
        assert torch.equal(small.images[:, 0], official.data[first])
        assert torch.equal(small.labels, official.targets[first])
    assert full.classes == tuple(official.classes)


@needs_fashion_mnist
def test_script_rebuilds_the_bundled_data_and_finds_changes(tmp_path: Path) -> None:
    def script(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), "--out", str(tmp_path), *arguments]
        path = os.pathsep.join(sys.path)
        return subprocess.run(
            command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
        )

    assert script().returncode == 0
    for file in tmp_path.glob("*.gz"):
        bundled = fashion_mnist.BUNDLED / file.name
        assert gzip.decompress(file.read_bytes()) == gzip.decompress(bundled.read_bytes())
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"other"))
    checked = script("--check")
    assert (checked.returncode, "t10k-labels" in checked.stdout) == (1, True)


@pytest.fixture
def small_fashion_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with the bundled files in the place of the official ones, for tests of finding and reading."""
    monkeypatch.setattr(fashion_mnist, "OFFICIAL", fashion_mnist.MINI)
    folder = tmp_path / "root" / "fashion-mnist"
    shutil.copytree(fashion_mnist.BUNDLED, folder)
    return folder


@pytest.mark.parametrize("place", ["root", "environment", "./data", "system"])
def test_fashion_mnist_is_found_in_the_usual_places(
    place: str, small_fashion_mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = small_fashion_mnist.parent
    if place == "environment":
        monkeypatch.setenv("IMCLASS_DATA", str(root))
    elif place == "./data":
        root.rename("data")
    elif place == "system":
        monkeypatch.setattr(sources, "SYSTEM_ROOT", root)
    config = DatasetConfig(name="fashion_mnist", root=str(root) if place == "root" else None, download=False)
    assert load_dataset(config).fingerprint == load_dataset(DatasetConfig()).fingerprint


def test_given_root_is_the_only_one_searched(
    small_fashion_mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMCLASS_DATA", str(small_fashion_mnist.parent))
    message = fails(name="fashion_mnist", root="elsewhere", download=False)
    assert "not found in elsewhere and not downloaded (dataset.download=false)" in message


@pytest.mark.parametrize("damage", ["other contents", "cut short", "not gzip"])
def test_damaged_fashion_mnist_file_is_named(damage: str, small_fashion_mnist: Path) -> None:
    file = small_fashion_mnist / "train-images-idx3-ubyte.gz"
    content = file.read_bytes()
    damaged = {"other contents": gzip.compress(b"\0" * 99), "cut short": content[:99], "not gzip": b"<html>"}
    file.write_bytes(damaged[damage])
    assert str(file) in fails(name="fashion_mnist", root=str(small_fashion_mnist.parent))


def test_offline_line_says_what_to_put_where() -> None:
    message = fails(name="fashion_mnist")
    assert "no network" in message
    assert "train-images-idx3-ubyte.gz" in message
    assert str(Path("data/FashionMNIST/raw")) in message
    assert "cifar-10-python.tar.gz" in fails(name="cifar10", root="here")
    assert "cifar-100-python.tar.gz" in fails(name="cifar100", download=False)


def test_download_is_verified_before_it_gets_its_name(
    small_fashion_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def deliver(url: str, target: str, progress: bool) -> None:
        asked.append(url)
        if "github" in url:  # the first mirror delivers an error page
            Path(target).write_text("<html>")
        else:
            shutil.copy(small_fashion_mnist / url.rpartition("/")[2], target)

    monkeypatch.setattr(torch.hub, "download_url_to_file", deliver)
    data = load_dataset(DatasetConfig(name="fashion_mnist", root=str(tmp_path / "new")))
    assert len(data.train) == 6000
    assert all(url.startswith("https://") for url in asked)
    found = {path.name for path in (tmp_path / "new/FashionMNIST/raw").iterdir() if path.suffix != ".lock"}
    assert found == {f"{name}.gz" for name in fashion_mnist.OFFICIAL}
    asked.clear()
    load_dataset(DatasetConfig(name="fashion_mnist", root=str(tmp_path / "new")))
    assert asked == []


@pytest.mark.parametrize("failure", [TimeoutError("stalled"), http.client.IncompleteRead(b"")])
def test_failed_download_leaves_nothing(
    failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(url: str, target: str, progress: bool) -> None:
        Path(target).write_bytes(b"half")
        raise failure

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    assert str(failure) in fails(name="cifar10", root=str(tmp_path / "new"))
    assert [path.name for path in (tmp_path / "new").iterdir()] == [".cifar-10-python.tar.gz.lock"]


# --- CIFAR ---------------------------------------------------------------------------------------

SOURCES = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}


def python2_pickle(value: Any) -> bytes:
    """Protocol 2, as the originals, with bytes in the way that Python 3 writes them."""
    return pickle.dumps(value, protocol=2)


def make_cifar(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[bytes, Any]]:
    """Write a small CIFAR in the exact format; torchvision's checksums are set to those of the files."""
    source = SOURCES[name]
    rng = np.random.default_rng(0)
    classes = 10 if name == "cifar10" else 100
    batches: dict[str, dict[bytes, Any]] = {}
    for file, _ in [*source.train_list, *source.test_list]:
        labels = rng.integers(0, classes, 7).tolist()
        batches[file] = {
            b"data": rng.integers(0, 256, (7, 3072), dtype=np.uint8),
            b"batch_label": file.encode(),
            b"filenames": [b"%d.png" % i for i in range(7)],
            **({b"labels": labels} if classes == 10 else {b"fine_labels": labels, b"coarse_labels": [0] * 7}),
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
    if not packed:
        official = SOURCES[name].__name__
        assert official  # torchvision reads the same files to the same arrays
        with (tmp_path / SOURCES[name].base_folder / train_files[0]).open("rb") as file:
            assert (
                pickle.load(file, encoding="bytes")[b"data"] == data.train.images[:7].reshape(7, -1).numpy()
            ).all()


def test_packed_and_unpacked_cifar_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cifar("cifar10", tmp_path, monkeypatch)
    config = DatasetConfig(name="cifar10", root=str(tmp_path))
    unpacked = load_dataset(config).fingerprint
    pack("cifar10", tmp_path)
    assert load_dataset(config).fingerprint == unpacked


def test_numpy_2_and_python_2_pickles_are_read() -> None:
    from imclass.data.cifar import _parse

    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    old = python2_pickle({b"data": array}).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    new = python2_pickle({b"data": array}).replace(b"numpy.core.multiarray", b"numpy._core.multiarray")
    # as Python 2 wrote it: texts are byte strings (opcode U), also in the dtype and the array's state
    python2 = (
        b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
        b"K\x00tb\x89U\x06\x00\x01\x02\x03\x04\x05tbs."
    )
    for content in (old, new, python2):
        assert (_parse(content, Path("x"), "y")[b"data"] == array).all()


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("executed",)


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


def test_corrupted_cifar_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cifar("cifar100", tmp_path, monkeypatch)
    file = tmp_path / "cifar-100-python" / "train"
    content = bytearray(file.read_bytes())
    content[500] ^= 1
    file.write_bytes(content)
    assert f"{file}: damaged" in fails(name="cifar100", root=str(tmp_path))


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


# --- synthetic, resize, names --------------------------------------------------------------------


def test_synthetic_is_balanced_repeatable_and_learnable() -> None:
    config = DatasetConfig(
        name="synthetic", synthetic=SyntheticConfig(shape=[2, 9, 7], classes=3, train=31, test=30)
    )
    torch.manual_seed(1)
    data = load_dataset(config)
    torch.manual_seed(2)
    assert load_dataset(config).fingerprint == data.fingerprint
    assert data.train.images.shape == (31, 2, 9, 7)
    assert torch.bincount(data.train.labels).tolist() == [11, 10, 10]
    assert data.classes == ("class0", "class1", "class2")
    means = torch.stack([data.train.images[data.train.labels == c].double().mean(0) for c in range(3)])
    nearest = torch.cdist(data.test.images.double().flatten(1), means.flatten(1)).argmin(1)
    assert (nearest == data.test.labels).double().mean() > 0.9


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"shape": [3, 32]}, "shape"),
        ({"shape": [3, 0, 4]}, "shape"),
        ({"classes": 1}, "classes"),
        ({"test": 0}, "test"),
    ],
)
def test_impossible_synthetic_sizes_name_their_key(change: dict[str, Any], key: str) -> None:
    assert f"dataset.synthetic.{key}=" in fails(name="synthetic", synthetic=SyntheticConfig(**change))


def test_resize_is_torchvisions_and_stays_uint8() -> None:
    small = load_dataset(DatasetConfig())
    data = load_dataset(DatasetConfig(resize=20))
    assert data.train.images.shape == (6000, 1, 20, 20)
    assert data.train.images.dtype == torch.uint8
    resize = torchvision.transforms.v2.functional.resize
    assert torch.equal(data.test.images[:9], resize(small.test.images[:9], [20, 20], antialias=True))
    assert data.fingerprint != small.fingerprint
    assert load_dataset(DatasetConfig(resize=28)).fingerprint == small.fingerprint
    assert "dataset.resize=0" in fails(resize=0)


def test_fingerprint_changes_with_each_part_of_the_contents() -> None:
    def made(pixel: int = 0, label: int = 0, name: str = "a", shape: tuple[int, ...] = (2, 1, 2, 4)) -> str:
        images = torch.zeros(shape, dtype=torch.uint8)
        images[1, 0, 1, 1] = pixel
        part = Split(images, torch.tensor([0, label]), None)
        return fingerprint((part, part, None), (name, "b"))

    variants = {made(), made(pixel=1), made(label=1), made(name="c"), made(shape=(2, 1, 4, 2))}
    assert len(variants) == 5
    assert made() == made()
    assert len(made()) == 64


def test_unknown_name_suggests_the_nearest() -> None:
    assert "did you mean 'cifar10'" in fails(name="cifr10")


def test_other_packages_add_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name, value = "mine", "package:load"

        def __init__(self, result: object):
            self.result = result

        def load(self) -> Any:
            return lambda config: self.result

    data = load_dataset(DatasetConfig(name="synthetic"))
    monkeypatch.setattr(
        datasets, "entry_points", lambda group: [Point(data)] if group == "imclass.datasets" else []
    )
    assert isinstance(load_dataset(DatasetConfig(name="mine")), Dataset)
    assert "did you mean 'mine'" in fails(name="mina")
    monkeypatch.setattr(datasets, "entry_points", lambda group: [Point(None)])
    assert "package:load returned no Dataset" in fails(name="mine")


def test_every_data_set_has_a_configuration() -> None:
    files = {
        path.stem: path.read_text(encoding="utf-8") for path in (config_dir() / "dataset").glob("*.yaml")
    }
    assert set(files) == set(DATASETS)
    for name, text in files.items():
        assert text.startswith("# ")
        assert f"name: {name}\n" in text
