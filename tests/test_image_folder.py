"""Folders of images: any mix of files gives the right pixels; whatever is wrong is named."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pictures import fails, load, make_folder, pixels, save
from PIL import Image

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "pictures"


def test_parts_labels_files_and_pixels(root: Path) -> None:
    make_folder(root, {"train": 4, "valid": 2, "test": 3}, classes="cab")
    data = load(root)
    assert data.val is not None
    assert data.classes == ("a", "b", "c")
    assert (len(data.train), len(data.val), len(data.test)) == (12, 6, 9)
    for part in (data.train, data.val, data.test):
        assert part.images.dtype == torch.uint8
        assert part.labels.dtype == torch.int64
        assert part.files is not None
        for image, label, file in zip(part.images, part.labels, part.files, strict=True):
            assert data.classes[label] == Path(file).parent.name
            assert torch.equal(image, pixels(root / file))
    assert data.train.files is not None
    assert data.train.files[:2] == ("train/a/0.png", "train/a/1.png")


def test_nested_hidden_and_other_files(root: Path) -> None:
    make_folder(root, {"": 3})
    save(root / "a" / "deeper" / "still" / "x.JPG", format="JPEG")
    save(root / "a" / ".hidden.png")
    save(root / ".thumbnails" / "y.png")
    for name in ("notes.txt", "labels.csv", "Thumbs.db", "noextension"):
        (root / "b" / name).write_text("no image")
    (root / "README.md").write_text("no class")
    (root / "a" / "loop").symlink_to(root / "a", target_is_directory=True)
    data = load(root, test_split=0.3)
    files = {*(data.train.files or ()), *(data.test.files or ())}
    assert files == {f"{c}/{i}.png" for c in "ab" for i in range(3)} | {"a/deeper/still/x.JPG"}


@pytest.mark.parametrize(("fraction", "count"), [(0.1, 2), (0.5, 10)])
def test_flat_folder_holds_out_a_fixed_stratified_test_part(root: Path, fraction: float, count: int) -> None:
    make_folder(root, {"": 10})
    torch.manual_seed(1)
    data = load(root, test_split=fraction)
    torch.manual_seed(2)
    again = load(root, test_split=fraction)
    assert torch.bincount(data.test.labels).tolist() == [count // 2] * 2
    assert data.test_name == f"stratified {fraction:.0%} of train (dataset.test_split)".replace("%", " %")
    assert len(data.train) == 20 - count
    assert not {*(data.train.files or ())} & {*(data.test.files or ())}
    assert data.test.files == again.test.files
    for part in (data.train, data.test):
        for image, file in zip(part.images, part.files or (), strict=True):
            assert torch.equal(image, pixels(root / file))


def test_training_and_validation_folders_without_test_hold_one_out(root: Path) -> None:
    data = load(make_folder(root, {"train": 10, "val": 2}), test_split=0.2)
    assert data.val is not None
    assert (len(data.train), len(data.val), len(data.test)) == (16, 4, 4)


MODES = [
    *[(mode, "png") for mode in ("L", "1", "LA", "P", "RGB", "RGBA")],
    *[(mode, "jpg") for mode in ("L", "RGB", "CMYK")],
    *[("P", "gif"), ("RGB", "bmp"), ("CMYK", "tiff"), ("RGB", "ppm"), ("RGBA", "webp")],
]


def test_every_mode_and_format_is_decoded(root: Path) -> None:
    for mode, extension in MODES:
        lossless: dict[str, Any] = {"lossless": True} if extension == "webp" else {}
        for name in "ab":
            save(root / "train" / name / f"{mode}.{extension}", mode=mode, **lossless)
            save(root / "test" / name / f"{mode}.{extension}", mode=mode, **lossless)
    data = load(root)
    assert data.train.images.shape == (2 * len(MODES), 3, 8, 8)
    for image, file in zip(data.train.images, data.train.files or (), strict=True):
        assert torch.equal(image, pixels(root / file)), file


def test_grey_images_have_one_channel(root: Path) -> None:
    for mode in ("L", "1", "LA"):
        make_folder(root / mode, {"train": 1, "test": 1}, mode=mode)
        assert load(root / mode).train.images.shape == (2, 1, 8, 8)
    save(root / "L" / "test" / "a" / "colour.png")
    assert load(root / "L").train.images.shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("sizes", "side"),
    [
        ([(8, 8)], 8),
        ([(300, 300)], 300),
        ([(8, 9)], 32),
        ([(70, 90), (100, 60), (110, 111)], 64),
        ([(500, 400), (900, 900)], 224),
    ],
)
def test_side_follows_the_images(root: Path, sizes: list[tuple[int, int]], side: int) -> None:
    for name in "ab":
        for index, size in enumerate(sizes):
            save(root / "train" / name / f"{index}.png", size)
            save(root / "test" / name / f"{index}.png", size)
    assert load(root).train.images.shape[-2:] == (side, side)
    assert load(root, resize=16).test.images.shape[-2:] == (16, 16)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.fault("D3")
@pytest.mark.parametrize(
    "damage", [cut, lambda path: path.write_bytes(b""), lambda path: path.write_text("<html>")]
)
def test_damaged_image_is_named(root: Path, cache: Path, damage: Callable[[Path], Any]) -> None:
    make_folder(root, {"train": 3, "test": 1}, size=(32, 32))
    damage(root / "train" / "b" / "1.png")
    assert fails(root).startswith("train/b/1.png: damaged or unreadable image (")
    assert not [*cache.glob("*.npy"), *cache.glob(".*.npy.*")]


@pytest.mark.fault("S6")
def test_image_over_the_pixel_limit_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(root, {"train": 2, "test": 1})
    save(root / "train" / "a" / "bomb.png", (40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert "train/a/bomb.png" in fails(root)


@pytest.mark.fault("D4")
def test_class_folders_that_differ_are_listed(root: Path) -> None:
    make_folder(root, {"train": 1}, classes="abc")
    make_folder(root, {"test": 1}, classes="bcde")
    message = fails(root)
    assert str(root / "test") in message
    assert "lacks 'a' and adds 'd', 'e'" in message


@pytest.mark.fault("D5")
@pytest.mark.parametrize(
    ("folders", "words"),
    [
        ([], "0 class folders"),
        (["a"], "1 class folder; expected"),
        (["a", "b"], "no images in its class folders"),
        (["test/a", "test/b"], "has test/ but no train/"),
        (["train/a", "train/b", "val/a", "valid/a"], "both val/ and valid/ are there"),
        (["train"], "0 class folders in "),
    ],
)
def test_folders_that_hold_no_data_set(root: Path, folders: list[str], words: str) -> None:
    root.mkdir()
    for folder in folders:
        (root / folder).mkdir(parents=True)
    assert words in fails(root)


@pytest.mark.fault("D5")
def test_a_class_may_lack_test_images_but_not_training_images(root: Path) -> None:
    make_folder(root, {"train": 2, "test": 1})
    (root / "test/b/0.png").unlink()
    assert load(root).test.labels.tolist() == [0]
    for file in (root / "train/b").iterdir():
        file.unlink()
    assert "no image of 'b' to train on" in fails(root)


def test_missing_root() -> None:
    assert "no such folder" in fails(Path("nowhere"))


@pytest.mark.parametrize("fraction", [0.0, 0.01, 1.0])
def test_impossible_test_split(root: Path, fraction: float) -> None:
    assert f"dataset.test_split={fraction}" in fails(make_folder(root, {"": 3}), test_split=fraction)
