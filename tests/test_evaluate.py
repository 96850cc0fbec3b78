"""imclass evaluate: training's figure again, other splits, weights, views and data, from the run alone."""

import argparse
import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import records
from pictures import make_folder, save

from imclass import cli
from imclass.commands.evaluate import _renamed, _table
from imclass.config.dataset import SyntheticConfig
from imclass.config.schema import DatasetConfig
from imclass.data.dataset import Split
from imclass.data.datasets import load_dataset
from imclass.evaluation.evaluate import Predictions
from imclass.evaluation.metrics import Result
from imclass.reports import split_report
from imclass.reports.split_report import a_few_of_each_class
from imclass.runs.checkpoint import read_checkpoint

pytestmark = pytest.mark.usefixtures("undrawn")  # with plots: test_report.py
SMALL = [
    "dataset=image_folder",
    "dataset.root=pictures",
    "model=lenet",
    "train.batch_size=4",
    "train.epochs=1",
]
SMALL += ["device.threads=1", "device.precision=fp32", "logger.plots=false"]


def evaluated(imclass, *argv: str) -> dict:
    outcome = imclass("evaluate", *argv, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_figures_of_training_are_repeated_exactly(imclass, train, precision: str) -> None:
    run = train("run", f"device.precision={precision}", "train.ema=0.8")
    last = records(run)[-1]
    before = (run / "evaluation.json").read_text()
    test = evaluated(imclass, "run")  # by its name under outputs/
    assert (test["loss"], test["accuracy"], test["images"]) == (last["loss"], last["accuracy"], 64)
    assert json.loads(before) == test
    best = json.loads((run / "summary.json").read_text())["best"]
    val = evaluated(imclass, str(run), "--split", "val")
    assert (val["loss"], val["accuracy"]) == (best["loss"], best["accuracy"])
    assert sum(map(sum, val["confusion_matrix"])) == val["images"]


def test_last_weights_are_those_of_the_last_evaluation(imclass, train) -> None:
    run = train("run", "train.ema=0.8", "optimizer.lr=0.5")
    final = records(run, split="val")[-1]
    val = evaluated(imclass, "run", "--split", "val", "--weights", "last")
    assert (val["loss"], val["accuracy"]) == (final["loss"], final["accuracy"])
    exported = evaluated(imclass, "run", "--weights", str(run / "best.safetensors"))
    assert exported["loss"] == records(run)[-1]["loss"]


def test_without_mistakes_the_sheet_says_so_and_predictions_are_of_each_class(tmp_path: Path) -> None:
    labels = torch.tensor([0] * 50 + [1] * 3 + [3] * 20)
    chosen = a_few_of_each_class(labels, 4)
    assert chosen.tolist() == [0, 6, 12, 18, 25, 31, 37, 43, 50, 51, 52, 53, 55, 58, 60, 63, 65, 68, 70]
    chosen = a_few_of_each_class(torch.arange(100).repeat_interleave(5), 100)
    assert len(chosen) == 40 and chosen.tolist() == sorted(set(chosen.tolist()))
    assert a_few_of_each_class(torch.arange(10).repeat_interleave(9), 10).bincount().amax() == 1
    titles: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split_report, "plot_pictures", lambda pictures, title, file: titles.append(title))
        right = Predictions(torch.eye(4)[labels], labels, Result(0.1, 1.0, 73))
        split = Split(torch.zeros(73, 1, 8, 8, dtype=torch.uint8), labels)
        arguments = (split, None, right, ["a", "b", "c", "d"], "test", None, tmp_path / "mistakes.png")
        split_report._draw_mistakes(*arguments)
    assert titles == ["No mistakes on test: all 73 images are right"]


def test_flip_averages_the_probabilities_of_the_mirror_image(imclass, run) -> None:
    plain, flipped = (evaluated(imclass, "run", "--tta", tta)["loss"] for tta in ("none", "flip"))
    assert plain != flipped
    best = read_checkpoint(run / "checkpoints/best.pt")
    sizes = SyntheticConfig(shape=[1, 16, 16], classes=4, train=160, test=64)
    test = load_dataset(DatasetConfig(name="synthetic", synthetic=sizes)).test
    from imclass.config.schema import ModelConfig
    from imclass.models import build_model

    model = build_model(ModelConfig(name="lenet"), in_channels=1, classes=4, size=16).eval()
    model.load_state_dict(best["model"])
    mean, std = best["about"]["mean"][0], best["about"]["std"][0]
    images = (test.images / 255 - mean) / std
    with torch.no_grad():
        both = (model(images).softmax(1) + model(images.flip(3)).softmax(1)) / 2
    expected = torch.nn.functional.nll_loss(both.log(), test.labels).item()
    assert flipped == pytest.approx(expected, rel=1e-5)


def test_the_table_says_what_was_evaluated_and_where_it_is(imclass, run, tmp_path: Path) -> None:
    outcome = imclass("evaluate", "run", "--split", "val")
    assert outcome.code == 0
    assert outcome.out.startswith("val, 16 images, best weights, test-time augmentation: none\naccuracy ")
    scores = json.loads((tmp_path / "outputs/run/evaluations/val/evaluation.json").read_text())
    worst = [row["name"] for row in sorted(scores["classes"], key=lambda row: row["f1"])]
    table = [line.split()[0] for line in outcome.out.splitlines() if line.startswith("class")]
    assert table == ["class", *worst]
    count, label, said = max(
        (n, -label, -said)
        for label, row in enumerate(scores["confusion_matrix"])
        for said, n in enumerate(row)
        if label != said
    )
    support = scores["classes"][-label]["support"]
    assert f"mistakes     class{-label} taken for class{-said}: {count} of {support}\n" in outcome.out
    assert "outputs/run/evaluations/val/evaluation.json" in outcome.out


def train_here(parts: dict[str, int]) -> None:
    """Make pictures/, with so many of each class, and train on them: outputs/run."""
    make_folder(Path("pictures").absolute(), parts, size=(16, 16))
    assert cli.main(["train", "name=run", *SMALL]) == 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a place with pictures and a run, made once for each number of pictures."""

    @functools.cache
    def place(*parts: tuple[str, int]) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path_factory.mktemp("trained"))
            patch.delenv("SLURM_JOB_ID", raising=False)
            train_here(dict(parts))
            return Path.cwd()

    return place


@pytest.fixture
def folder_run(imclass, trained: Callable[..., Path], tmp_path: Path) -> Callable[..., None]:
    """Copy outputs/run and pictures/ here; the run knows its own, which are left as they are."""

    def copy(**parts: int) -> None:
        parts = parts or {"train": 12, "test": 4}
        shutil.copytree(trained(*parts.items()), tmp_path, dirs_exist_ok=True)

    return copy


@pytest.mark.fault("D4")
def test_another_folder_with_the_same_classes(imclass, folder_run, tmp_path: Path) -> None:
    folder_run()
    make_folder(tmp_path / "flat", {".": 3}, size=(40, 20))
    assert evaluated(imclass, "run", "--data", "flat")["images"] == 6
    assert imclass("evaluate", "run", "--data", "flat").out.startswith("flat, 6 images, best weights")
    outcome = imclass("evaluate", "run", "--data", "flat", "--split", "val")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "--split val: flat is not divided into parts; leave it out" in outcome.err
    make_folder(tmp_path / "other/test", {".": 2}, classes="abc")
    make_folder(tmp_path / "other/train", {".": 2}, classes="abc")
    outcome = imclass("evaluate", "run", "--data", "other")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "--data other: its classes are not the model's: it adds 'c'" in outcome.err


def test_an_exported_folder_of_the_test_images_gives_the_figures_of_the_data_set(
    imclass, run, tmp_path: Path
) -> None:
    from PIL import Image

    sizes = SyntheticConfig(shape=[1, 16, 16], classes=4, train=160, test=64)
    data = load_dataset(DatasetConfig(name="synthetic", synthetic=sizes))
    for index, (image, label) in enumerate(zip(data.test.images, data.test.labels.tolist(), strict=True)):
        folder = tmp_path / "exported" / data.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(folder / f"{index:03}.png")
    own, exported = evaluated(imclass, "run"), evaluated(imclass, "run", "--data", "exported")
    assert exported["confusion_matrix"] == own["confusion_matrix"]
    assert exported["loss"] == pytest.approx(own["loss"], rel=1e-6)


def test_changed_data_are_reported(imclass, tmp_path: Path) -> None:
    train_here({"train": 12, "test": 4})
    make_folder(tmp_path / "pictures", {"test": 1}, size=(16, 16), mode="L")
    text = (tmp_path / "outputs/run/evaluation.json").read_text()
    outcome = imclass("evaluate", "run")
    assert outcome.code == 0
    assert "warning: these images are not those that the run was trained on" in outcome.err
    assert (tmp_path / "outputs/run/evaluation.json").read_text() == text
    assert (tmp_path / "outputs/run/evaluations/test_data-changed/evaluation.json").exists()


@pytest.mark.fault("D4")
def test_changed_classes_are_refused(imclass, tmp_path: Path) -> None:
    """Labels are positions among the sorted names: another name would give other classes the old figures."""
    train_here({"train": 12, "test": 4})
    for part in ("train", "test"):
        (tmp_path / "pictures" / part / "a").rename(tmp_path / "pictures" / part / "z")
    outcome = imclass("evaluate", "run")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "pictures: its classes are not the model's: it lacks 'a' and adds 'z'" in outcome.err


def test_a_run_is_evaluated_from_any_folder(imclass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_here({"train": 12, "test": 4})
    before = (tmp_path / "outputs/run/evaluation.json").read_text()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert evaluated(imclass, str(tmp_path / "outputs/run")) == json.loads(before)
    (tmp_path / "pictures").rename(tmp_path / "moved")
    outcome = imclass("evaluate", str(tmp_path / "outputs/run"))
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "no such folder" in outcome.err and "--data DIR" in outcome.err


def test_training_images_are_not_taken_for_test_images(imclass, tmp_path: Path) -> None:
    train_here({".": 20})
    save(tmp_path / "pictures/a/new.png", size=(16, 16))
    again = imclass("evaluate", "run", "--data", "pictures", "--json")
    assert (again.code, json.loads(again.out)["images"]) == (0, 4)  # a tenth, not all 41
    assert "may have been among its training images" in again.err
    make_folder(tmp_path / "other", {"train": 2}, size=(16, 16))
    outcome = imclass("evaluate", "run", "--data", "other")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "has no test/ beside train/" in outcome.err


def test_copies_of_training_images_are_counted(imclass, tmp_path: Path) -> None:
    for number in range(40):
        save(tmp_path / f"pictures/{'ab'[number % 2]}/{number}.png", (16, 16))
    shutil.copytree(tmp_path / "pictures", tmp_path / "copies")
    assert imclass("train", "name=run", *SMALL).code == 0
    save(tmp_path / "copies/a/new.png", size=(16, 16))
    outcome = imclass("evaluate", "run", "--data", "copies")  # of 40, 4 are for testing, 4 for validation
    assert "warning: 32 of 41 images are training images: these figures are not of new" in outcome.err
    outcome = imclass("predict", "run", "pictures", "copies/a/new.png")
    assert "; 32 of these are training images: this accuracy is not of new pictures" in outcome.err
    assert "training images" not in imclass("predict", "run", "copies/a/new.png").err
    make_folder(tmp_path / "other", {".": 3}, size=(16, 16), mode="L")
    assert imclass("evaluate", "run", "--data", "other").err == ""
    (tmp_path / "other/a").rename(tmp_path / "other/c")
    renamed = ("evaluate", "run", "--data", "other", "--class", "c=a")
    assert imclass(*renamed).err == ""
    shutil.copy(tmp_path / "pictures/a/0.png", tmp_path / "pictures/a/new.png")  # now, which were trained on?
    changed = "the run's folder of images has changed since: some of these may have been among its training"
    assert f" name a class of the model; {changed}" in imclass("predict", "run", "pictures").err
    assert f"warning: {changed}" in imclass(*renamed).err
    again = imclass("evaluate", "run", "--data", "pictures").err
    assert again.count("may have been among its training images") == again.count("\n") == 1
    (tmp_path / "pictures").rename(tmp_path / "gone")
    assert imclass(*renamed).err == ""


def test_a_class_without_images_is_evaluated(imclass, folder_run, tmp_path: Path) -> None:
    folder_run()
    make_folder(tmp_path / "other", {".": 3}, classes="a", size=(16, 16))
    (tmp_path / "other/b").mkdir()
    assert [row["support"] for row in evaluated(imclass, "run", "--data", "other")["classes"]] == [3, 0]
    (tmp_path / "none/a").mkdir(parents=True)
    (tmp_path / "none/b").mkdir()
    outcome = imclass("evaluate", "run", "--data", "none")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "no images in its class folders" in outcome.err


def test_folders_of_a_class_whose_name_no_folder_can_have(imclass, tmp_path: Path) -> None:
    """Fashion-MNIST's T-shirt/top."""
    quick = ["model=lenet", "train.steps=2", "device.threads=1", "logger.plots=false"]
    assert imclass("train", "name=run", *quick).code == 0
    names = [
        row["name"] for row in json.loads((tmp_path / "outputs/run/evaluation.json").read_text())["classes"]
    ]
    assert "T-shirt/top" in names
    for name in names:
        save(tmp_path / "other" / name.replace("/", "_") / "1.png", size=(28, 28), mode="L")
    assert evaluated(imclass, "run", "--data", "other")["images"] == 10


@pytest.mark.parametrize("part", [".", "train"])
def test_a_moved_folder_gives_the_runs_own_split_again(
    imclass, folder_run, tmp_path: Path, part: str
) -> None:
    folder_run(**{part: 20})
    before = (tmp_path / "outputs/run/evaluation.json").read_text()
    (tmp_path / "pictures").rename(tmp_path / "moved")
    again = evaluated(imclass, "run", "--data", "moved")
    assert (again["images"], again["loss"]) == (4, json.loads(before)["loss"])


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_folder_without_the_part_that_was_asked_for(imclass, folder_run, tmp_path: Path, part: str) -> None:
    folder_run()
    make_folder(tmp_path / "other", {"train": 2, "val": 2}, size=(16, 16))
    assert evaluated(imclass, "run", "--data", "other", "--split", part)["images"] == 4
    outcome = imclass("evaluate", "run", "--data", "other")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "has no test/ beside train, val/" in outcome.err


def test_a_folder_that_has_only_the_part_that_was_asked_for(imclass, folder_run, tmp_path: Path) -> None:
    folder_run()
    make_folder(tmp_path / "other", {"test": 3}, size=(16, 16))
    assert evaluated(imclass, "run", "--data", "other")["images"] == 6
    outcome = imclass("evaluate", "run", "--data", "other", "--split", "val")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "has test/ but no train/ beside it" in outcome.err


def test_a_folder_that_has_nothing_to_do_with_the_run(imclass, run, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    save(tmp_path / "other/1.png")
    outcome = imclass("evaluate", "run", "--data", "other")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "--data other: has no folders of the model's classes" in outcome.err


def test_a_subset_of_the_classes_and_folders_of_other_names(imclass, run, tmp_path: Path) -> None:
    """Two folders are the same class under two names; another class and a single folder are enough."""
    for folder, count in (("class2", 3), ("zwei", 2), ("drei", 4)):
        for number in range(count):
            save(tmp_path / f"other/{folder}/{number}.png", (16, 16), "L", seed=number)
    outcome = imclass("evaluate", "run", "--data", "other")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "it adds 'drei', 'zwei'; --class FOLDER=CLASS says which" in outcome.err
    renamed = ["--class", "zwei=class2", "--class", "drei=class0"]
    scores = evaluated(imclass, "run", "--data", "other", *renamed)
    assert [row["support"] for row in scores["classes"]] == [4, 0, 5, 0]
    table = imclass("evaluate", "run", "--data", "other", *renamed).out
    assert "classes      2 of the model's; no images of class1, class3\n" in table
    (tmp_path / "map.yaml").write_text("zwei: class2\ndrei: class1\n")
    mapped = evaluated(imclass, "run", "--data", "other", "--map", "map.yaml", "--class", "drei=class0")
    assert mapped == scores
    (folder,) = (tmp_path / "outputs/run/evaluations").iterdir()  # the same one
    assert folder.name.startswith("test_classes-zwei-")
    (tmp_path / "other/class2").rename(tmp_path / "class2")
    (tmp_path / "one").mkdir()
    (tmp_path / "class2").rename(tmp_path / "one/class2")
    assert evaluated(imclass, "run", "--data", "one")["images"] == 3


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--class", "a=class0"], "--class a=class0: goes with --data FOLDER"),
        (["--data", "other", "--class", "a"], "--class a: expected FOLDER=CLASS"),
        (["--data", "other", "--class", "b=class0"], "--class or --map, b=class0: no folder 'b' in other"),
        (
            ["--data", "other", "--class", "a=klass0"],
            "'klass0' is no class of the model; did you mean 'class0'",
        ),
        (["--data", "other", "--map", "none.yaml"], "none.yaml: No such file"),
        (
            ["--data", "other", "--map", "list.yaml"],
            "--map list.yaml: expected a YAML file of lines FOLDER: ",
        ),
        (
            ["--data", "other", "--map", "a=class0"],
            "expected a YAML file of lines FOLDER: CLASS; for a single folder: --class a=class0\n",
        ),
        (
            ["--data", "other", "--map", "null.yaml"],
            "--map null.yaml: b: null: expected a class; to leave the folder out, move it out of --data",
        ),
        (
            ["--data", "other", "--map", "no.yaml"],
            "--map no.yaml: false: class0: expected FOLDER: CLASS, in quotes where YAML reads anything but",
        ),
    ],
)
def test_faulty_names_of_classes_are_one_line(
    imclass, run, tmp_path: Path, argv: list[str], expected: str
) -> None:
    save(tmp_path / "other/a/1.png", (16, 16))
    (tmp_path / "list.yaml").write_text("- a\n")
    (tmp_path / "null.yaml").write_text("a: class0\nb: null\n")
    (tmp_path / "no.yaml").write_text("no: class0\n")
    outcome = imclass("evaluate", "run", *argv)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1), outcome.err
    assert expected in outcome.err


def test_evaluations_of_two_files_have_two_folders(imclass, run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(run / "best.safetensors", tmp_path / name)
        evaluated(imclass, "run", "--weights", f"{name}/best.safetensors")
    assert len(list((run / "evaluations").iterdir())) == 2


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["nowhere"], "nowhere: no run folder here or in outputs/"),
        (["runn"], "expected a folder with a config.yaml; did you mean 'run'?"),
        (["outputs/runn"], "expected a folder with a config.yaml; did you mean 'run'?"),
        (["g3"], "expected a folder with a config.yaml; outputs has run"),
        (["run", "--weights", "none.pt"], "--weights none.pt: expected best, last, or a file"),
        (["run", "--data", "nowhere"], "no such folder"),
    ],
)
def test_mistakes_are_one_line(imclass, run, argv: list[str], expected: str) -> None:
    outcome = imclass("evaluate", *argv)
    assert outcome.code == 2
    assert expected in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_run_without_checkpoint_and_a_damaged_one(imclass, run) -> None:
    best = run / "checkpoints/best.pt"
    data = bytearray(best.read_bytes())
    data[len(data) // 2] ^= 1
    best.write_bytes(data)
    outcome = imclass("evaluate", "run")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "best.pt is damaged" in outcome.err
    assert "--weights best, last or FILE" in outcome.err
    whole = evaluated(imclass, "run", "--weights", str(run / "best.safetensors"))
    assert whole["loss"] == records(run)[-1]["loss"]
    best.unlink()
    assert evaluated(imclass, "run", "--weights", str(run / "best.safetensors"))["loss"] == whole["loss"]
    outcome = imclass("evaluate", "run")
    assert "best.pt: no such file" in outcome.err


def test_a_map_of_a_thousand_folders_is_read(tmp_path: Path) -> None:
    file = tmp_path / "map.yaml"
    file.write_text("".join(f"n{i:08}: class {i}\n" for i in range(2_000)))
    options = argparse.Namespace(map=str(file), renamed=[], data="pictures")
    assert len(_renamed(options)) == 2_000


def test_a_table_of_names_in_two_scripts_and_without_mistakes(tmp_path: Path) -> None:
    figures = {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 4}
    scores = {
        **dict.fromkeys(("data", "top5_accuracy")),
        **dict.fromkeys(("loss", "expected_calibration_error"), 0.0),
        **dict.fromkeys(("split", "weights", "tta"), "x"),
        "images": 8,
        "accuracy": 1.0,
        "macro": figures,
        "classes": [{"name": "猫の写真", **figures}, {"name": "dog", **figures}],
        "confusion_matrix": [[4, 0], [0, 4]],
    }
    table = _table(scores, tmp_path)
    lines = ["class     precision", "猫の写真     100.0%", "dog          100.0%", "mean         100.0%"]
    assert [line[: len(start)] for line, start in zip(table.split("\n")[5:], lines, strict=False)] == lines
    assert table.count("\n\n") == 2
    assert "\n\n\n" not in table
