"""imclass data verify: everything that is wrong, in one go."""

import json
import os
import shutil
from pathlib import Path

import pytest
from originals import make_cifar, pack
from pictures import make_folder, save

from imclass.data import fashion_mnist, sources

pytestmark = pytest.mark.fault("D3")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "pictures", {"train": 3, "test": 2}, size=(16, 16))


def test_a_whole_folder(imclass, root: Path) -> None:
    outcome = imclass("data", "verify", "pictures")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "pictures: 10 images in 2 classes, all whole\n"


def test_everything_that_is_wrong_is_listed(imclass, root: Path) -> None:
    content = (root / "train/a/0.png").read_bytes()
    (root / "train/a/0.png").write_bytes(content[:-30])
    (root / "train/b/1.png").write_bytes(b"")
    (root / "train/b/2.png").write_text("text")
    (root / "train/b/phone").write_bytes(content)
    (root / "train/b/notes.txt").write_text("no image")
    (root / "train/README.md").write_text("no image")
    os.mkfifo(root / "train/b/pipe.png")
    os.mkfifo(root / "train/b/pipe")
    os.mkfifo(root / "train/pipe")
    (root / "train/b/link.jpg").symlink_to("nowhere")
    (root / "train/b/round").symlink_to(root / "train/b/round")
    (root / "train/gone").symlink_to("nowhere")
    (root / "train/empty").mkdir()
    shutil.rmtree(root / "test/b")
    save(root / "test/c/0.png")
    (root / "val").mkdir()
    outcome = imclass("data", "verify", "pictures")
    assert outcome.code == 2
    assert outcome.err == "imclass: pictures: 14 problems in 11 images in 3 classes; 2 ignored\n"
    lines = dict(line.split(": ", 1) for line in outcome.out.splitlines())
    assert lines["test"] == "class folders differ from those of train/: it lacks 'b', 'empty' and adds 'c'"
    assert lines["train/empty"] == "no images of this class"
    assert lines["train/gone"] == lines["train/b/link.jpg"] == "No such file or directory"
    assert lines["train/b/round"] == "Too many levels of symbolic links"
    assert lines["train/b/pipe.png"] == "not a regular file but a FIFO"
    assert lines["train/pipe"] == lines["train/b/pipe"] == "not a regular file"
    assert "truncated" in lines["train/a/0.png"]
    assert lines["train/b/1.png"] == lines["train/b/2.png"] == "not an image that Pillow can read"
    assert "no extension" in lines["train/b/phone"]
    assert lines["train/README.md"] == "ignored: outside the class folders"
    assert lines["train/b/notes.txt"] == "ignored: not an image by its name"
    assert outcome.out.count("\n") == 16


def test_json_holds_the_same(imclass, root: Path) -> None:
    (root / "train/b/\x1b[31m.png").write_bytes(b"")
    outcome = imclass("data", "verify", "pictures", "--json")
    assert outcome.code == 2
    found = json.loads(outcome.out)
    assert found["images"] == 11
    assert found["classes"] == ["a", "b"]
    assert found["problems"] == [["train/b/\x1b[31m.png", "not an image that Pillow can read"]]
    assert "\x1b" not in outcome.out + imclass("data", "verify", "pictures").out


def test_a_folder_that_cannot_be_read_is_listed(imclass, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir, is_file = os.scandir, Path.is_file

    def refuse(path: Path) -> None:
        if Path("pictures/train/b") in (path, *path.parents):
            raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", lambda path: refuse(Path(path)) or scandir(path))
    monkeypatch.setattr(Path, "is_file", lambda path: refuse(path) or is_file(path))
    (root / "train/a/0.png").write_bytes(b"")
    outcome = imclass("data", "verify", "pictures")
    assert outcome.code == 2
    assert "train/b: Permission denied\n" in outcome.out
    assert "train/a/0.png: not an image that Pillow can read\n" in outcome.out


def test_the_data_set_that_comes_with_imclass(imclass) -> None:
    outcome = imclass("data", "verify", "fashion_mnist_mini")
    assert outcome.code == 0
    assert outcome.out == "fashion_mnist_mini: 7,000 images in 10 classes, all whole\n"


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_files_of_cifar(imclass, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cifar(name, tmp_path / "root", monkeypatch)
    assert imclass("data", "verify", name, "--root", "root").code == 0
    files = sorted((tmp_path / "root").glob("cifar*/*"))
    for file in files[:2]:
        file.write_bytes(b"other")
    outcome = imclass("data", "verify", name, "--root", "root")
    assert outcome.code == 2
    lines = [f"{file.name}: damaged or not the original (wrong checksum)" for file in files[:2]]
    assert sorted(outcome.out.splitlines()) == lines
    where = files[0].parent.relative_to(tmp_path)
    assert outcome.err == (
        f"imclass: {name} in {where}: 2 problems; delete the damaged files to have them fetched again\n"
    )
    archive = pack(name, tmp_path / "root")
    outcome = imclass("data", "verify", name, "--root", "root")
    assert (outcome.code, outcome.out.count("\n")) == (2, 1)
    assert archive.name in outcome.out


def test_the_files_of_fashion_mnist(imclass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "OFFICIAL", fashion_mnist.MINI)
    monkeypatch.setattr(sources, "SYSTEM_ROOT", tmp_path / "none")
    shutil.copytree(fashion_mnist.BUNDLED, tmp_path / "data/fashion-mnist")
    assert imclass("data", "verify", "fashion_mnist").code == 0
    for name in ("train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        (tmp_path / "data/fashion-mnist" / name).write_bytes(b"\x1f\x8b")
    outcome = imclass("data", "verify", "fashion_mnist")
    assert outcome.code == 2
    assert outcome.out.count("train-images-idx3-ubyte.gz: cannot be read (cut short)\n") == 1
    assert outcome.out.count("\n") == 2
    shutil.rmtree(tmp_path / "data")
    outcome = imclass("data", "verify", "fashion_mnist")
    assert outcome.code == 2
    assert "not found in data" in outcome.out


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["verify", "nowhere"], "nowhere: no such folder or data set; data sets: "),
        (["verify", "cifr10"], "did you mean 'cifar10' or 'cifar100'?"),
        (["verify", "empty"], "empty: 0 class folders; expected at least 2"),
        (["verify", "empty", "--root", "x"], "--root x: goes with the name of a data set"),
        (["verfy"], "data verfy: no such verb; expected one of inspect, verify; did you mean 'verify'?"),
        (["verify"], "see imclass data verify --help"),
    ],
)
def test_mistakes_are_one_line(imclass, tmp_path: Path, argv: list[str], expected: str) -> None:
    (tmp_path / "empty").mkdir()
    outcome = imclass("data", *argv)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert expected in outcome.err
    assert outcome.err.startswith("imclass: ")


def test_help_and_completion(imclass) -> None:
    assert "imclass data verify FOLDER|FILE.csv|NAME" in imclass("data").out
    assert imclass("completion", "query", "imclass data v").out == "verify\n"
    assert "cifar10\n" in imclass("completion", "query", "imclass data verify ci").out
