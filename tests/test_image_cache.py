"""Decoded images are kept: read once, never stale, and not needed."""

import os
import shutil
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import load, make_folder, pixels, save

from imclass.data.folder import dataset as image_folder
from imclass.data.folder.cache import cached_images

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "pictures"


def no_decoding(*_: object) -> None:
    raise AssertionError("decoded again")


def test_second_load_decodes_nothing_and_maps_the_file(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(root, {"train": 3, "test": 2})
    first = load(root)
    monkeypatch.setattr(image_folder, "decode_image", no_decoding)
    monkeypatch.setattr(image_folder, "read_header", no_decoding)
    monkeypatch.setattr(image_folder, "fingerprint", no_decoding)
    second = load(root)
    assert torch.equal(first.train.images, second.train.images)
    assert torch.equal(first.test.images, second.test.images)
    assert first.fingerprint == second.fingerprint
    assert len(list(cache.glob("*.npy"))) == 1


def test_changed_files_and_settings_are_seen(root: Path, cache: Path) -> None:
    make_folder(root, {"train": 3, "test": 2})
    before = load(root)
    save(root / "train" / "a" / "1.png", seed=99)
    os.utime(root / "train" / "a" / "1.png", ns=(1, 1))
    after = load(root)
    assert before.fingerprint != after.fingerprint
    assert torch.equal(after.train.images[1], pixels(root / "train" / "a" / "1.png"))
    load(root, resize=4)
    assert len(list(cache.glob("*.npy"))) == 3


def test_a_margin_is_part_of_the_key_and_of_the_pixels(root: Path, cache: Path) -> None:
    make_folder(root, {"train": 3, "test": 2}, size=(32, 32))
    whole = load(root, resize=16)
    for settings, side, files in (
        ({"resize": 14, "centre": 0.875}, 16, 1),  # the same pixels, found again
        ({"resize": 16, "centre": 0.5}, 32, 2),
        ({"centre": 0.8}, 40, 3),
        ({}, 32, 4),
    ):
        data = load(root, **settings)
        assert data.train.images.shape[2:] == (side, side), settings
        assert len(list(cache.glob("*.npy"))) == files, settings
        assert (data.fingerprint == whole.fingerprint) == (files == 1)


def test_copy_elsewhere_has_the_same_fingerprint(root: Path, tmp_path: Path) -> None:
    make_folder(root, {"train": 3, "test": 2})
    shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copy)  # new times
    assert load(root).fingerprint == load(tmp_path / "copy").fingerprint


@pytest.mark.fault("D6")
@pytest.mark.parametrize("kind", ["npy", "text"])
@pytest.mark.parametrize("damage", ["empty", "garbage", "cut", "hole", "bit", "digest"])
def test_damaged_cache_is_made_again(
    root: Path, cache: Path, kind: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = load(make_folder(root, {"train": 3, "test": 2}))
    images = before.train.images.clone()
    (file,) = cache.glob(f"*.{kind}")
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(
        {
            "empty": b"",
            "garbage": b"garbage",
            "cut": whole[:middle],
            "hole": whole[: middle - 20] + bytes(40) + whole[middle + 20 :],
            "bit": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "digest": whole[:-1] + bytes([whole[-1] ^ 1]),
        }[damage]
    )
    again = load(root)
    assert torch.equal(again.train.images, images)
    assert again.fingerprint == before.fingerprint
    assert caplog.messages == [f"{file} is damaged; decoding the images again"]
    assert file.read_bytes() == whole


def test_works_without_a_cache_folder(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(root, {"train": 3, "test": 2})
    cached = load(root)
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("IMCLASS_CACHE", str(tmp_path / "file"))
    data = load(root)
    assert torch.equal(data.train.images, cached.train.images)
    assert data.fingerprint == cached.fingerprint


@pytest.mark.fault("D1")
def test_debris_of_a_killed_process_is_swept(root: Path, cache: Path) -> None:
    make_folder(root, {"train": 2, "test": 1})
    load(root)
    (file,) = cache.glob("*.npy")
    debris, other = (cache / f".tmp-01234567-{name}" for name in (file.name, "of-another-process.npy"))
    for path in (debris, other):
        path.write_bytes(b"half")
    file.unlink()
    load(root)
    assert not debris.exists()
    assert other.exists()
    (file,) = cache.glob("[!.]*.npy")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.fault("D1")
def test_of_several_at_once_one_makes_the_images(cache: Path) -> None:
    made: list[int] = []

    def make() -> tuple[tuple[int, int, int, int], list[np.ndarray]]:
        made.append(1)
        time.sleep(0.2)  # the others arrive meanwhile
        return (2, 1, 2, 2), [np.full((1, 1, 2, 2), value, dtype=np.uint8) for value in (3, 4)]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: cached_images("key", make), range(4)))
    assert made == [1]
    assert all(result[:, 0, 0, 0].tolist() == [3, 4] for result in results)


def test_full_disk_is_no_obstacle(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    images = cached_images("key", lambda: ((1, 1, 2, 2), [np.ones((1, 1, 2, 2), dtype=np.uint8)]))
    assert images.sum() == 4
    assert [path.name for path in cache.iterdir()] == ["key.lock"]
