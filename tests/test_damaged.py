"""Damaged images and what is no file: named, or left out and counted; never waited for."""

import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import merged
from originals import accept, make_cifar, python2_pickle
from pictures import fails, load, make_folder, save

from imclass.config.schema import DatasetConfig
from imclass.data.datasets import load_dataset
from imclass.data.folder import damaged
from imclass.errors import UserError
from imclass.runs.regular import open_regular

pytestmark = pytest.mark.usefixtures("cache")
QUICK = ("dataset=image_folder", "dataset.root=pictures", "model=lenet", "dataset.resize=16")
QUICK += ("train.batch_size=4", "train.steps=2", "device=cpu", "logger.plots=false", "name=run")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "pictures", {"train": 6, "test": 3}, size=(16, 16))


def half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def no_bytes(path: Path) -> None:
    path.write_bytes(b"")


def fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def unix_socket(path: Path) -> None:
    path.unlink()
    here = Path.cwd()
    os.chdir(path.parent)  # such names are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(here)


DAMAGES = {
    half: "truncated",
    no_bytes: "not an image that Pillow can read",
    fifo: "not a regular file but a FIFO",
    nowhere: "No such file or directory",
    circle: "Too many levels of symbolic links",
    device: "not a regular file but a device",
    unix_socket: "not a regular file but a socket",
}


@pytest.mark.fault("D3", "S11")
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_read_is_named_or_left_out(root: Path, damage: Callable[[Path], None]) -> None:
    whole = load(root)
    damage(root / "train/b/1.png")
    message = fails(root)
    assert message.startswith("train/b/1.png: damaged or unreadable image (")
    assert DAMAGES[damage] in message
    assert f"imclass data verify {root} lists all" in message
    assert "dataset.on_damaged=skip" in message
    left = load(root, on_damaged="skip")
    assert left.train.files == tuple(name for name in whole.train.files or () if name != "train/b/1.png")
    keep = torch.tensor([name != "train/b/1.png" for name in whole.train.files or ()])
    assert torch.equal(left.train.images, whole.train.images[keep])
    assert torch.equal(left.train.labels, whole.train.labels[keep])
    (skipped,) = left.train.skipped
    assert skipped.startswith("train/b/1.png: ")
    assert DAMAGES[damage] in skipped
    assert left.test.skipped == ()
    assert left.fingerprint != whole.fingerprint


@pytest.mark.fault("D3")
def test_nothing_changes_where_nothing_is_damaged(root: Path) -> None:
    assert load(root, on_damaged="skip").fingerprint == load(root).fingerprint


@pytest.mark.fault("D3")
def test_damage_is_looked_for_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half(root / "test/a/0.png")
    first = load(root, on_damaged="skip")
    monkeypatch.setattr(damaged, "damage", lambda path: pytest.fail("decoded again"))
    assert load(root, on_damaged="skip").test.skipped == first.test.skipped
    save(root / "test/a/0.png", (16, 16), seed=7)
    monkeypatch.undo()
    assert load(root, on_damaged="skip").test.skipped == ()


@pytest.mark.fault("D3")
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_class_that_loses_all_its_images_is_an_error(root: Path, part: str) -> None:
    for file in (root / part / "b").iterdir():
        no_bytes(file)
    message = fails(root, on_damaged="skip")
    assert f"all images of 'b' in {part} are damaged" in message
    assert "imclass data verify" in message


@pytest.mark.fault("D3")
def test_images_are_left_out_before_a_test_set_is_held_out(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "flat", {"": 10})
    no_bytes(root / "a/3.png")
    data = load(root, on_damaged="skip", test_split=0.2)
    assert (len(data.train), len(data.test)) == (15, 4)
    assert (len(data.train.skipped), len(data.test.skipped)) == (1, 0)


@pytest.mark.fault("D3")
def test_the_count_is_in_the_log_and_in_all_results(imclass, root: Path, tmp_path: Path) -> None:
    for name in ("train/a/0.png", "train/a/4.png", "train/b/1.png", "train/b/2.png", "test/b/2.png"):
        half(root / name)
    outcome = imclass("train", *merged(QUICK, ["dataset.on_damaged=skip"]))
    assert outcome.code == 0, outcome.err
    log = (tmp_path / "outputs/run/train.log").read_text()
    assert "skipped  damaged images: 4 of train, 1 of test: train/a/0.png: " in log
    assert "and 2 more" in log
    assert f"imclass data verify {root} lists all" in log
    summary = json.loads((tmp_path / "outputs/run/summary.json").read_text())
    assert summary["skipped"] == {"train": 4, "test": 1}
    scores = json.loads((tmp_path / "outputs/run/evaluation.json").read_text())
    assert (scores["skipped"], scores["images"]) == (1, 5)
    assert "data.skipped.train" in (tmp_path / "outputs/run/report.html").read_text()
    outcome = imclass("evaluate", "run", "--split", "train")
    assert "skipped      4 damaged images" in outcome.out
    outcome = imclass("train", *merged(QUICK, ["dataset.on_damaged=skip"]))
    assert "damaged images: 4 of train, 1 of test" in outcome.out


@pytest.mark.fault("D3")
def test_a_run_is_not_resumed_on_fewer_images(imclass, root: Path) -> None:
    assert imclass("train", *QUICK).code == 0
    half(root / "train/a/0.png")
    outcome = imclass("train", *merged(QUICK, ["dataset.on_damaged=skip", "train.steps=4"]))
    assert outcome.code == 2
    assert "the training images are not those that this run began with" in outcome.err


@pytest.mark.fault("S11", "D3")
def test_training_and_evaluation_end_in_one_line(imclass, root: Path) -> None:
    assert imclass("train", *QUICK).code == 0
    fifo(root / "test/a/x.png")
    for command in (
        ["train", *merged(QUICK, ["name=other"])],
        ["evaluate", "run", "--data", "pictures/test"],
    ):
        outcome = imclass(*command)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert outcome.err.startswith("imclass: ")
        assert "a/x.png: damaged or unreadable image (not a regular file but a FIFO)" in outcome.err


@pytest.mark.fault("S11")
def test_class_folders_that_are_none(root: Path) -> None:
    before = load(root).fingerprint
    os.mkfifo(root / "train/pipe")
    os.mkfifo(root / "val")
    assert load(root).fingerprint == before
    (root / "train/c").symlink_to("gone", target_is_directory=True)
    assert "c" in fails(root)


@pytest.mark.fault("S11", "D5")
def test_a_folder_that_cannot_be_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed, original = root / "train/b", os.scandir

    def scandir(path: str | Path) -> object:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    message = fails(root)
    assert message.startswith(f"dataset.root={root}: cannot be read (")
    assert str(closed) in message


@pytest.mark.fault("S11")
def test_a_file_that_becomes_a_fifo_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "before").touch()
    os.mkfifo(tmp_path / "x.png")
    status = (tmp_path / "before").stat()
    monkeypatch.setattr(Path, "stat", lambda self, **_: status)  # what was there a moment ago
    with pytest.raises(OSError, match="not a regular file but a FIFO"):
        open_regular(tmp_path / "x.png")


@pytest.mark.fault("S11")
def test_a_fifo_with_a_writer_is_not_read_either(tmp_path: Path) -> None:
    pipe = tmp_path / "x.png"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # lets the writer open it
    writer = threading.Thread(target=lambda: pipe.write_bytes(b"secret"))
    writer.start()
    writer.join()
    with pytest.raises(OSError, match="FIFO"):
        open_regular(pipe)
    assert os.read(reader, 10) == b"secret"
    os.close(reader)


@pytest.mark.fault("S11", "D5")
@pytest.mark.parametrize("place", ["file", "/dev/full", "fifo", "nowhere"])
def test_a_cache_that_is_no_folder_is_done_without(
    root: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load(root).fingerprint
    target = Path(place) if place.startswith("/") else tmp_path / place
    if place == "fifo":
        os.mkfifo(target)
    elif place == "nowhere":
        target.symlink_to("gone")
    elif place == "file":
        target.touch()
    monkeypatch.setenv("IMCLASS_CACHE", str(target))
    assert load(root).fingerprint == before
    no_bytes(root / "train/a/0.png")
    assert len(load(root, on_damaged="skip").train.skipped) == 1


@pytest.mark.fault("S11")
def test_a_cached_array_that_is_no_file_is_done_without(root: Path, cache: Path) -> None:
    before = load(root).fingerprint
    (file,) = cache.glob("*.npy")
    fifo(file)
    assert load(root).fingerprint == before


@pytest.mark.fault("D5")
def test_a_part_without_images_is_refused_before_a_model_is_built(root: Path) -> None:
    for file in (root / "test").rglob("*.png"):
        file.unlink()
    assert "no images in its class folders" in fails(root)


@pytest.mark.fault("D5")
@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["train.batch_size=999"], "train.batch_size=999: larger than the training split"),
        (["dataset.val_split=12"], "dataset.val_split=12: takes 12 of 12 training images"),
        (["dataset.root=empty"], "/empty: 0 class folders; expected"),
        (["dataset.root=pictures/train/a/0.png"], "dataset.root=pictures/train/a/0.png: not a folder"),
        (["dataset=cifar10", "dataset.root=wrong", "dataset.resize=null"], "labels of the test part go from"),
        (["dataset=cifar10", "dataset.root=/dev/null"], "dataset.root=/dev/null: not a folder"),
    ],
)
def test_data_are_checked_before_a_model_is_built(
    imclass, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], expected: str
) -> None:
    def no_model(*_: object, **__: object) -> None:
        raise AssertionError("a model was built")

    monkeypatch.setattr("imclass.training.start.build_model", no_model)
    (tmp_path / "empty").mkdir()
    make_cifar("cifar10", tmp_path / "wrong", monkeypatch)
    batch = tmp_path / "wrong/cifar-10-batches-py/test_batch"
    batch.write_bytes(python2_pickle({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}))
    accept("cifar10", batch.parent, monkeypatch)
    outcome = imclass("train", *merged(QUICK, overrides))
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert outcome.err.startswith("imclass: ")
    assert expected in outcome.err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.fault("D5")
def test_a_root_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"not downloaded .*Not a directory"):
        load_dataset(DatasetConfig(name="cifar10", root=str(tmp_path / "file/data")))


@pytest.mark.fault("D5", "S11")
def test_check_finds_what_a_training_on_a_folder_would_stop_at(imclass, tmp_path: Path) -> None:
    root = make_folder(tmp_path / "root", {"train": 3, "test": 1})
    check = ["check", "dataset=image_folder", "dataset.root=root", "model=lenet"]
    outcome = imclass(*check)
    assert outcome.out.startswith("ok: lenet on image_folder")
    assert f"\nthe pictures were not opened: imclass data verify {root}\n" in outcome.out
    outcome = imclass(*check, "sweep.name=s", "optimizer.lr=0.1,0.2")
    assert outcome.out.startswith("ok: ") and f"imclass data verify {root}\n" in outcome.out
    (root / "train/a/0.png").unlink()
    os.mkfifo(root / "train/a/0.png")
    outcome = imclass(*check)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert "train/a/0.png: damaged or unreadable image (not a regular file but a FIFO); " in outcome.err
    assert imclass(*check, "dataset.on_damaged=skip").code == 0
    (root / "train/c").mkdir()
    (root / "test/c").mkdir()
    outcome = imclass(*check)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert "root: no image of 'c' to train on; add some or remove its folder" in outcome.err
