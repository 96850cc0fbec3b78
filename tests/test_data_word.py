"""A folder of pictures typed without a key: what it stands for, and what is refused with what to type."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from pictures import make_folder, save

from imclass.config.data_root import problem_of_runs
from imclass.config.invocation import Invocation
from imclass.config.overrides import parse, quoted
from imclass.data.folder.scan import scan_folder

pytestmark = pytest.mark.usefixtures("cache")


def make_run(folder: Path) -> None:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").touch()


SHORT = ("model=lenet", "dataset.resize=16", "train.batch_size=4", "train.epochs=1", "device.threads=1")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "my pictures", {".": 12})


def test_a_folder_is_trained_on(imclass, pictures: Path, tmp_path: Path) -> None:
    typed = ["my pictures", *SHORT, "logger.plots=false", "name=mine"]
    outcome = imclass("train", *typed)
    assert outcome.code == 0, outcome.err
    settings = OmegaConf.load(tmp_path / "outputs/mine/config.yaml")
    assert (settings.dataset.name, settings.dataset.root) == ("image_folder", str(pictures))
    provenance = json.loads((tmp_path / "outputs/mine/provenance.json").read_text())
    assert provenance["command"] == ["imclass", "train", *typed]
    again = imclass("train", f"dataset.root='{pictures}'", *typed[1:])
    assert "finished already" in again.out


@pytest.mark.parametrize("typed", [["--data", "my pictures"], ["--data=my pictures"], ["my pictures"]])
def test_ways_to_type_it(pictures: Path, monkeypatch: pytest.MonkeyPatch, typed: list[str]) -> None:
    monkeypatch.chdir(pictures.parent)
    invocation = Invocation.read("train", [*typed, "seed=1"])
    assert invocation.overrides == ("dataset=image_folder", "dataset.root='my pictures'", "seed=1")
    assert invocation.words == ["my pictures", "seed=1"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("my_pictures", "my_pictures"), ("../a.b", "../a.b"), ("null", "'null'"), ("1e3", "'1e3'")],
)
def test_a_name_is_quoted_only_where_hydra_would_read_it_otherwise(name: str, value: str) -> None:
    assert quoted(name) == value
    assert parse(f"dataset.root={value}").value() == name


def test_a_sweep_takes_a_folder(imclass, pictures: Path) -> None:
    outcome = imclass("check", "my pictures", "sweep=quick")
    assert (outcome.code, outcome.err) == (0, "")


def test_a_folder_may_have_the_name_of_a_group(imclass, tmp_path: Path) -> None:
    make_folder(tmp_path / "dataset", {"train": 4, "test": 2})
    assert "lenet on image_folder" in imclass("check", "dataset", "model=lenet", "train.batch_size=4").out


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["pictures", "dataset=cifar10"], "with dataset=cifar10 type dataset.root=pictures"),
        (["pictures", "dataset.root=pictures"], "pictures, dataset.root=pictures: two places of pictures"),
        (["pictures", "--data", "pictures"], "pictures, pictures: two places of pictures; keep one"),
        (["one.png"], "one.png: expected a folder of class folders, or a file .csv or .parquet"),
        (["mine.yaml"], "mine.yaml: a file of settings; type experiment=mine.yaml"),
        (["outputs/mine"], "outputs/mine: a run folder; to resume it, type resume=outputs/mine"),
        (["outputs"], "dataset.root=outputs: holds runs, such as outputs/mine; expected class folders of"),
        (
            ["dataset.root=outputs"],
            "outputs/mine; expected class folders of pictures alone; to resume it, type",
        ),
        (["outputs/sweeps"], "outputs/sweeps: holds sweeps, such as outputs/sweeps/quick; expected class"),
        (["outputs/sweeps/quick"], "a sweep folder; to look at it, type imclass report outputs/sweeps/quick"),
        (["dataset.root=outputs/mine"], "a run folder; to resume it, type resume=outputs/mine"),
        (
            ["dataset=image_folder", "dataset.root=outputs/mine"],
            "dataset.root=outputs/mine: a run folder; to resume it, type resume=outputs/mine",
        ),
        (
            ["dataset.root=flat"],
            "dataset.root=flat: no class folders with pictures; for a data set: dataset=",
        ),
        (
            ["pictures", "resume=mine"],
            "pictures: resume=mine takes its pictures from the run; leave it out",
        ),
        ([""], "'': expected"),
        (["dataset.root=none"], "dataset.root=none: no such folder"),
        (["empty"], "0 class folders"),
        (["picturs"], "no such folder or file; expected one of pictures, key=value or group=choice; did you"),
        (["outputs/min"], "did you mean 'outputs/mine'"),
        (["none/here"], "'none/here': no such folder or file"),
        (["~nobody"], "nobody: no such setting"),
        (["--data", "~nobody/pictures"], "~nobody/pictures: no such folder or file of pictures"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_what_is_refused(imclass, tmp_path: Path, typed: list[str], message: str) -> None:
    make_folder(tmp_path / "pictures", {".": 2})
    save(tmp_path / "one.png")
    save(tmp_path / "flat" / "one.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "outputs/mine").mkdir(parents=True)
    (tmp_path / "outputs/sweeps/quick").mkdir(parents=True)
    make_run(tmp_path / "outputs/mine")
    for file in ("mine.yaml", "outputs/sweeps/quick/sweep.yaml", "outputs/sweeps/quick/journal.log"):
        (tmp_path / file).touch()
    code, out, err = imclass("check", *typed)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert message in err


def test_runs_beside_the_parts_are_not_in_the_way(imclass, tmp_path: Path) -> None:
    pictures = make_folder(tmp_path / "pictures", {"train": 4, "test": 2})
    save(tmp_path / "pictures/outputs/four/lr-0.1/plots/curves.png")
    make_run(tmp_path / "pictures/outputs/four/lr-0.1")
    assert problem_of_runs(pictures) == ""
    assert imclass("check", "pictures", "train.batch_size=4").code == 0
    for command in ("inspect", "verify"):
        outcome = imclass("data", command, "pictures/outputs")
        assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
        assert "pictures/outputs: holds runs, such as pictures/outputs/four/lr-0.1" in outcome.err


def test_runs_beside_class_folders_are_no_class(imclass, tmp_path: Path) -> None:
    make_folder(tmp_path, {".": 4})
    before = scan_folder(tmp_path, ".")
    for run in ("outputs/mine", "runs/four/lr-0.1"):
        save(tmp_path / run / "plots/curves.png")
        make_run(tmp_path / run)
    save(tmp_path / "outputs/lr-find/1.png")
    assert scan_folder(tmp_path, ".") == before
    assert imclass("check", ".", "train.batch_size=4").code == 0
    assert problem_of_runs(tmp_path / "runs").startswith(f"holds runs, such as {tmp_path}/runs/four/lr-0.1;")


@pytest.mark.parametrize("run", ["a/mine", "a/outputs/mine", "outputs/mine"])
@pytest.mark.parametrize("picture", ["sheet.png", "sheets/1.png"])
def test_plots_of_a_run_are_never_trained_on(imclass, tmp_path: Path, run: str, picture: str) -> None:
    make_folder(tmp_path, {".": 4})
    save(tmp_path / run / "plots/curves.png")
    make_run(tmp_path / run)
    save((tmp_path / run).parent / picture)
    outcome = imclass("check", ".", "train.batch_size=4")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert f"{run}: a run among the pictures of " in outcome.err


@pytest.mark.parametrize(
    "file", ["b/config.yaml", "b/labelme/config.yaml", "b/deep/labelme/sweep.yaml", "b/mine/config.yaml"]
)
@pytest.mark.parametrize("flat", [True, False])
def test_a_class_stays_one_whatever_lies_beside_its_pictures(tmp_path: Path, file: str, flat: bool) -> None:
    parts = {".": 4} if flat else {"train": 4, "test": 2}
    root = make_folder(tmp_path / "pictures", parts)
    before = scan_folder(root, "pictures")
    other = root / ("." if flat else "train") / file
    other.parent.mkdir(parents=True, exist_ok=True)
    other.touch()
    assert scan_folder(root, "pictures") == before
    assert problem_of_runs(root) == ""


@pytest.mark.parametrize(
    ("picture", "file"),
    [
        ("monday/0.png", "labelme/config.yaml"),
        ("monday/0.png", "config.yaml"),
        ("2020/monday/0.png", "labelme/config.yaml"),
        ("0.jfif", "config.yaml"),
    ],
)
def test_a_class_that_has_another_programs_settings(tmp_path: Path, picture: str, file: str) -> None:
    root = make_folder(tmp_path / "pictures", {".": 4})
    save(root / "c/0.png")
    (root / "c" / picture).parent.mkdir(parents=True, exist_ok=True)
    (root / "c/0.png").rename(root / "c" / picture)
    (root / "c" / file).parent.mkdir(exist_ok=True)
    (root / "c" / file).touch()
    assert scan_folder(root, "pictures")[0] == ("a", "b", "c")
    assert problem_of_runs(root) == ""


def test_runs_in_train_are_no_class(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "pictures", {"train": 4, "test": 2})
    before = scan_folder(root, "pictures")
    for file in ("mine/plots/curves.png", "lr-find/1.png"):
        save(root / "train/outputs" / file)
    make_run(root / "train/outputs/mine")
    assert scan_folder(root, "pictures") == before


@pytest.mark.parametrize("word", ["~nobody-of-this-name/my pictures", "~nobody-of-this-name/labels.csv"])
@pytest.mark.parametrize("command", [["check"], ["data", "verify"], ["train", "--data"]])
def test_the_home_of_nobody_is_one_line(imclass, command: list[str], word: str) -> None:
    outcome = imclass(*command, word)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert word in outcome.err


def test_other_choices_of_the_data_set_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for word in ("dataset=cifar10", "experiment=cifar10_resnet18", "resume=outputs/mine"):
        typed = (word, "dataset.root=.")
        assert Invocation.read("train", typed).overrides == typed


def test_the_roots_of_several_runs_are_all_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        make_folder(tmp_path / name, {".": 1})
    invocation = Invocation.read("train", ["-m", "dataset.root=a,b"])
    assert invocation.overrides == ("dataset=image_folder", "dataset.root=a,b")
    assert invocation.words == ["-m", "dataset.root=a,b"]
