"""Decoded images are kept: read once, never stale, and not needed."""

import dataclasses
import mmap
import os
import shutil
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pictures import load, make_folder, pixels, save
from PIL import Image

from imclass.data.folder import dataset as image_folder
from imclass.data.folder.cache import Part, Shape, cached_images
from imclass.data.mapped import MappedFile

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


def test_the_background_is_part_of_the_key_and_of_the_pixels(root: Path) -> None:
    make_folder(root, {"train": 2, "test": 1})
    opaque = load(root).fingerprint
    assert load(root, background="black").fingerprint == opaque  # no pixel is transparent
    Image.new("RGBA", (8, 8), (9, 9, 9, 0)).save(root / "train/a/0.png")
    for background, value in (("white", 255), ("black", 0), ([1, 2, 3], None), ("ignore", 9)):
        shown = load(root, background=background).train.images[0].flatten(1)[:, 0].tolist()
        assert shown == ([value] * 3 if value is not None else background)


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
@pytest.mark.parametrize("damage", ["none", "bit", "cut", "no sums", "ended"])
def test_what_a_killed_process_has_made_is_kept(
    damage: str, root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight images in chunks of two; the first process is killed when it has written two chunks."""
    monkeypatch.setattr("imclass.data.folder.cache.AT_ONCE", 2)
    make_folder(root, {"train": 3, "test": 1})
    decode, decoded = image_folder.decode_image, []

    def counting(path: Path, **rest: int) -> np.ndarray:
        decoded.append(path.name)
        if len(decoded) == 5:
            raise KeyboardInterrupt  # as a kill: nothing of the cache handles it
        return decode(path, **rest)

    monkeypatch.setattr(image_folder, "decode_image", counting)
    with pytest.raises(KeyboardInterrupt):
        load(root)
    (part,), (sums,) = cache.glob("*.part"), cache.glob("*.sums")
    assert len(sums.read_bytes()) == 2 * 32
    pixels, position = bytearray(part.read_bytes()), -1  # in the second chunk
    if damage == "bit":
        pixels[position] ^= 1
    part.write_bytes(pixels[:position] if damage == "cut" else pixels + b"more" * (damage == "ended"))
    if damage == "no sums":
        sums.unlink()
    kept = {"none": 4, "ended": 4, "bit": 2, "cut": 2, "no sums": 0}[damage]
    decoded[:] = []
    monkeypatch.setattr(image_folder, "decode_image", lambda *a, **k: decoded.append(1) or decode(*a, **k))
    data = load(root)
    assert len(decoded) == 8 - kept
    (file,) = cache.glob("*.npy")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not [*cache.glob("*.part"), *cache.glob("*.sums")]
    file.unlink()
    assert torch.equal(load(root).train.images, data.train.images)


@pytest.mark.fault("D1")
def test_of_several_at_once_one_makes_the_images(cache: Path) -> None:
    made: list[int] = []

    def make() -> tuple[Shape, Part]:
        made.append(1)
        time.sleep(0.2)  # the others arrive meanwhile
        return (2, 1, 2, 2), lambda *_: np.repeat(np.uint8([3, 4]), 4).reshape(2, 1, 2, 2)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: cached_images("key", make), range(4)))
    assert made == [1]
    assert all(images[:, 0, 0, 0].tolist() == [3, 4] for images, _ in results)


def test_full_disk_is_no_obstacle(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    ones = np.ones((1, 1, 2, 2), dtype=np.uint8)
    images, file = cached_images("key", lambda: ((1, 1, 2, 2), lambda *_: ones))
    assert (images.sum(), file) == (4, None)
    assert [path.name for path in cache.iterdir()] == ["key.lock"]


def test_the_pages_of_a_batch_are_read_at_the_same_time(root: Path) -> None:
    """And no others, where the kernel would read megabytes around each."""
    make_folder(root, {"train": 3, "test": 2}, size=(50, 50))
    data = load(root)
    content = data.train.mapped_from.content
    for part in data.train, data.test.select(torch.tensor([3, 1, 0])):
        advice: list[tuple[int, int, int]] = []
        watched = MappedFile(content)
        watched._mapped = SimpleNamespace(madvise=lambda *one, to=advice: to.append(one))
        at = torch.tensor([2, 0])
        images = dataclasses.replace(part, mapped_from=watched).take(at)
        assert images.equal(part.images[at])
        for image, (kind, start, size) in zip(images, advice, strict=True):
            assert (kind, start % mmap.PAGESIZE) == (mmap.MADV_WILLNEED, 0)
            assert image.numpy().tobytes() in content[start : start + size].tobytes()
            assert size < image.nbytes + mmap.PAGESIZE
