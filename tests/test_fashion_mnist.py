"""Fashion-MNIST, whole and bundled: official pixels, found, fetched and verified."""

import gzip
import http.client
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision

from imclass.config.schema import DatasetConfig
from imclass.data import fashion_mnist, sources
from imclass.data.datasets import load_dataset
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

    monkeypatch.setattr(sources, "_download", offline)


def fails(**settings: Any) -> str:
    with pytest.raises(UserError) as error:
        load_dataset(DatasetConfig(**settings))
    assert "\n" not in str(error.value)
    return str(error.value)


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
def test_script_rebuilds_the_bundled_data_and_finds_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--out", str(tmp_path / "out"), *arguments])
        return int(runpy.run_path(str(SCRIPT))["main"]())

    assert script() == 0
    for bundled in fashion_mnist.BUNDLED.glob("*.gz"):
        rebuilt = tmp_path / "out" / bundled.name
        assert gzip.decompress(rebuilt.read_bytes()) == gzip.decompress(bundled.read_bytes())
    assert (tmp_path / "out" / "LICENSE").is_file()
    assert script("--check") == 0
    (tmp_path / "out" / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"other"))
    assert script("--check") == 1
    assert capsys.readouterr().out.endswith("differs: t10k-labels-idx1-ubyte.gz\n")


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


@pytest.mark.fault("D2")
def test_offline_line_says_what_to_put_where() -> None:
    message = fails(name="fashion_mnist")
    assert "no network" in message
    assert "train-images-idx3-ubyte.gz" in message
    assert str(Path("data/FashionMNIST/raw")) in message
    assert "cifar-10-python.tar.gz" in fails(name="cifar10", root="here")
    assert "cifar-100-python.tar.gz" in fails(name="cifar100", download=False)


@pytest.mark.fault("D2")
def test_download_is_verified_before_it_gets_its_name(
    small_fashion_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def deliver(url: str, target: Path, largest: int) -> None:
        asked.append(url)
        if "github" in url:  # the first mirror delivers an error page
            target.write_text("<html>")
        else:
            shutil.copy(small_fashion_mnist / url.rpartition("/")[2], target)

    monkeypatch.setattr(sources, "_download", deliver)
    raw = tmp_path / "new/FashionMNIST/raw"
    raw.mkdir(parents=True)
    (raw / ".tmp-01234567-train-images-idx3-ubyte.gz.0a1b.partial").write_text("left by a killed process")
    data = load_dataset(DatasetConfig(name="fashion_mnist", root=str(tmp_path / "new")))
    assert len(data.train) == 6000
    assert all(url.startswith("https://") for url in asked)
    found = {path.name for path in raw.iterdir() if path.suffix != ".lock"}
    assert found == {f"{name}.gz" for name in fashion_mnist.OFFICIAL}
    asked.clear()
    load_dataset(DatasetConfig(name="fashion_mnist", root=str(tmp_path / "new")))
    assert asked == []


@pytest.mark.fault("D2")
@pytest.mark.parametrize("failure", [TimeoutError("stalled"), http.client.IncompleteRead(b"")])
def test_failed_download_leaves_nothing(
    failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(url: str, target: Path, largest: int) -> None:
        target.write_bytes(b"half")
        raise failure

    monkeypatch.setattr(sources, "_download", fail)
    assert str(failure) in fails(name="cifar10", root=str(tmp_path / "new"))
    assert [path.name for path in (tmp_path / "new").iterdir()] == [".cifar-10-python.tar.gz.lock"]
