"""Tables of files and labels: the same images as in class folders, and every bad row named at once."""

import csv
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import fails, load, make_folder, save

from imclass.config.schema import DatasetConfig
from imclass.data.dataset import Dataset
from imclass.data.datasets import prepare_data
from imclass.data.folder.table import read_pictures, read_table
from imclass.errors import ConfigError, UserError

pytestmark = pytest.mark.usefixtures("cache")
Rows = Sequence[Sequence[object]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Class folders, and beside them nothing that says which class is which."""
    return make_folder(tmp_path / "pictures", {"train": 4, "val": 2, "test": 3})


def write(file: Path, rows: Rows, header: str = "file,label,split", delimiter: str = ",") -> Path:
    with file.open("w", newline="", encoding="utf-8-sig") as output:  # as spreadsheets write it
        writer = csv.writer(output, delimiter=delimiter)
        writer.writerow(header.split(","))
        writer.writerows(rows)
    return file


def rows_of(root: Path) -> list[tuple[str, str, str]]:
    found = [file.relative_to(root) for file in sorted(root.rglob("*.png"))]
    return [(file.as_posix(), file.parts[1], file.parts[0]) for file in found]


def same(data: Dataset, other: Dataset) -> bool:
    parts = [(data.train, other.train), (data.val, other.val), (data.test, other.test)]
    return all(a.files == b.files and torch.equal(a.images, b.images) for a, b in parts)  # type: ignore[union-attr]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_of_a_folder_is_that_folder(root: Path, delimiter: str) -> None:
    rows = rows_of(root)[::-1]  # their order does not matter
    file = write(root / "labels.csv", [("note", *row) for row in rows], "note,File,LABEL,split", delimiter)
    data, folder = load(file), load(root)
    assert same(data, folder)
    assert (data.fingerprint, data.classes) == (folder.fingerprint, folder.classes)
    assert data.val_name == data.test_name == "split column of labels.csv"
    assert (folder.val_name, folder.test_name) == ("val/ folder", "test/ folder")
    for given, name in ((file, data.test_name), (root, "test/ folder")):  # nothing is left to hold out
        expected = f"{name} (dataset.test_split=0.2 has no effect)"
        assert load(given, test_split=0.2).test_name == expected


def test_parquet_holds_the_same(root: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs imclass[parquet]")
    from pyarrow import parquet

    files, labels, splits = zip(*rows_of(root), strict=True)
    columns = {"embedding": [[1.0]] * len(files), "file": files, "split": splits, "label": labels}
    parquet.write_table(pyarrow.table(columns), root / "labels.parquet")
    assert same(load(root / "labels.parquet"), load(root))
    parquet.write_table(pyarrow.table(columns | {"label": [None, *labels[1:]]}), root / "labels.parquet")
    assert fails(root / "labels.parquet").endswith("labels.parquet: row 1: has no label")
    (root / "labels.parquet").write_bytes(b"PAR1 and no more")
    assert "labels.parquet: cannot be read as a table (" in fails(root / "labels.parquet")


def test_parquet_without_pyarrow_says_what_to_install(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "labels.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert fails(root / "labels.parquet").endswith("needs pyarrow: pip install 'imclass[parquet]'")


def test_without_splits_test_images_are_held_out_as_of_a_folder(root: Path) -> None:
    rows = [row[:2] for row in rows_of(root) if row[2] == "train"]
    data = load(write(root / "labels.csv", rows, "file,label"), test_split=0.25)
    assert (len(data.train), data.val, len(data.test)) == (6, None, 2)
    other = make_folder(root.parent / "flat", {"": 4})
    assert torch.equal(data.train.labels, load(other, test_split=0.25).train.labels)


def test_labels_that_are_numbers_are_sorted_as_numbers(root: Path) -> None:
    names = ["10", "9", "0", "b", "a"]
    files = [*(f"train/a/{index}.png" for index in range(4)), "train/b/0.png"]
    rows = [*zip(files, names, strict=True)]
    data = load(write(root / "labels.csv", rows, "file,label"), test_split=0.2)
    assert data.classes == ("0", "9", "10", "a", "b")


def bad_rows(file: Path) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load(file)
    return [problem.removeprefix(f"{file}: ") for problem in error.value.problems]


@pytest.mark.fault("D5")
def test_all_bad_rows_are_named_at_once(root: Path) -> None:
    rows: list[tuple[str, ...]] = [
        ("train/a/0.png", "a", "train"),
        ("", "a", "train"),
        ("train/a/1.png", "", "train"),
        ("train/a/2.png", "a", "tset"),
        ("./train/a/0.png", "b", "test"),
        ("train/a/3.png", "a"),
        ("train/b/0.png", "b", ""),
    ]
    assert bad_rows(write(root / "labels.csv", rows)) == [
        "line 3: has no file",
        "line 4: has no label",
        "line 5: split=tset: expected train, val or test; did you mean 'test'?",
        "line 6: train/a/0.png is also in line 2, as a of train",
        "line 7: has 2 fields; expected 3",
        "line 8: split='': expected train, val or test",
    ]
    many = bad_rows(write(root / "labels.csv", [("", "a", "train")] * 25))
    assert many[9:] == ["line 11: has no file", "and 15 more bad rows"]


@pytest.mark.fault("D5")
def test_a_group_is_in_one_split(root: Path) -> None:
    rows = [(*row, f"patient {row[0][-5]}") for row in rows_of(root) if row[2] != "val"]
    problems = bad_rows(write(root / "labels.csv", rows, "file,label,split,group"))
    assert len(problems) == 6
    assert all("; keep a group in one split" in problem for problem in problems)
    assert problems[0].startswith("line 8: group patient 0 is in test (line 2) and in train")


@pytest.mark.fault("D4")
@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        ("name,label", [("a.png", "a")], "has no column 'file'; its columns: name, label; expected file and"),
        ("file,lable", [("a.png", "a")], "and group, in the first line; did you mean 'lable'?"),
        ("file,file,label", [("a", "a", "a")], "has two columns 'file'; rename one"),
        ("file,label", [], "has no rows below its header"),
        ("file,label", [("train/a/0.png", "a")], "1 different label in its training rows; expected 2"),
        (
            "file,label,split",
            [("train/a/0.png", "a", "train"), ("train/b/0.png", "b", "train"), ("test/a/0.png", "c", "test")],
            "labels of test that no training row has: c",
        ),
    ],
)
def test_what_is_no_data_set_is_one_line(root: Path, header: str, rows: Rows, words: str) -> None:
    assert words in fails(write(root / "labels.csv", rows, header))


def test_a_misspelt_column_is_warned_about(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(write(root / "labels.csv", [(*row, "p") for row in rows_of(root)], "file,label,splt,note"))
    read_pictures(write(root / "list.csv", rows_of(root), "file,lable,splt"), "list.csv")
    split, label = capfd.readouterr().err.splitlines()
    assert split.endswith("labels.csv: has no column 'split'; did you mean 'splt'?")
    assert label.endswith("list.csv: has no column 'label'; did you mean 'lable'?")
    read_pictures(root / "list.csv", "list.csv")
    load(write(root / "labels.csv", [(*row, "p", "") for row in rows_of(root)], "file,label,spot,crop,able"))
    assert capfd.readouterr().err == ""


def test_no_text_is_one_line(root: Path) -> None:
    assert "cannot be read as a table (No such file" in fails(root / "none.csv")
    (root / "labels.csv").write_bytes(b"file,label\n\xff\xfe,a\n")
    assert "cannot be read as a table ('utf-8' codec" in fails(root / "labels.csv")
    (root / "labels.csv").unlink()
    os.mkfifo(root / "labels.csv")
    assert "cannot be read as a table (not a regular file but a FIFO)" in fails(root / "labels.csv")


def test_a_table_whose_paths_start_elsewhere_is_told_where_they_do(imclass, root: Path) -> None:
    write(root / "labels.csv", [(f"pictures/{name}", *others) for name, *others in rows_of(root)])
    outcome = imclass("check", "pictures/labels.csv", "model=lenet")
    assert outcome.code == 2
    *_, last = outcome.err.splitlines()
    assert last.endswith(f"missing or no files; paths in a table are relative to its folder, {root}")
    assert "on_damaged" not in outcome.err
    for start in ("/nowhere", "train"):  # no folder would help; some are there
        rows = [(f"{start}/{name}", *others) for name, *others in rows_of(root)]
        write(root / "labels.csv", [*rows, *(rows_of(root)[:1] if start == "train" else ())])
        assert "dataset.on_damaged=skip" in imclass("check", "pictures/labels.csv", "model=lenet").err


@pytest.mark.fault("D3")
def test_missing_and_damaged_files_are_named_or_left_out(imclass, root: Path) -> None:
    rows = rows_of(root)
    file = write(root / "labels.csv", [*rows, *((f"gone/{i:02}.png", "a", "train") for i in range(12))])
    outcome = imclass("check", "dataset=image_folder", "dataset.root=pictures/labels.csv", "model=lenet")
    assert outcome.code == 2
    lines = outcome.err.splitlines()
    assert len(lines) == 11
    assert "gone/00.png: damaged or unreadable image (No such file or directory)" in lines[0]
    assert "2 more are missing or no files; imclass data verify " in lines[-1]
    assert "dataset.on_damaged=skip" in lines[-1]
    save(root / "train/a/0.png")
    (root / "train/a/1.png").write_bytes(b"")
    data = load(file, on_damaged="skip")
    assert len(data.train) == 7
    assert len(data.train.skipped) == 13
    verified = imclass("data", "verify", "pictures/labels.csv")
    assert verified.code == 2
    assert "train/a/1.png: not an image that Pillow can read" in verified.out
    assert verified.err == "imclass: pictures/labels.csv: 13 problems in 30 images in 2 classes\n"


def make_patients(root: Path, patients: int, each: int = 4, header: str = "file,label,group") -> Path:
    """Every patient has pictures of both classes."""
    rows = []
    for patient in range(patients):
        for index in range(each):
            name, label = f"p{patient}/{index}.png", "ab"[index % 2]
            save(root / name, seed=patient)
            rows.append((name, label, f"patient {patient}"))
    return write(root / "labels.csv", rows, header)


def patients_of(files: Sequence[str] | None) -> set[str]:
    return {name.split("/")[0] for name in files or ()}


def test_groups_are_kept_whole_in_every_split(tmp_path: Path) -> None:
    file = make_patients(tmp_path / "scans", 20)
    config = DatasetConfig(name="image_folder", root=str(file), test_split=0.2, val_split=0.25)
    test: set[str] = set()
    for seed in (0, 1):
        data = prepare_data(config, seed)
        parts = [patients_of(part.files) for part in (data.train, data.val, data.test)]
        assert [len(part) for part in parts] == [12, 4, 4]
        assert len(set.union(*parts)) == 20
        assert not test or parts[2] == test  # the test part is the same for every seed
        test = parts[2]
    assert data.val_source == "stratified 25 % of train, groups kept whole"
    assert data.test_source == "stratified 20 % of train (dataset.test_split), groups kept whole"
    folds = [prepare_data(dataclasses.replace(config, folds=4, fold=fold), 1) for fold in range(4)]
    assert [patients_of(data.test.files) for data in folds] == [test] * 4
    held = [patients_of(data.val.files) for data in folds]
    assert sorted(patient for fold in held for patient in fold) == sorted(set.union(*parts) - test)


def test_the_fingerprint_knows_the_groups(tmp_path: Path) -> None:
    file = make_patients(tmp_path / "scans", 6)
    before = load(file, test_split=0.2).fingerprint
    text = file.read_text("utf-8-sig")
    file.write_text(text.replace("patient 5", "patient 4"))
    assert load(file, test_split=0.2).fingerprint != before


def test_one_group_cannot_be_divided(tmp_path: Path) -> None:
    file = make_patients(tmp_path / "scans", 1)
    assert "no group of 1 group of 4 images is small enough" in fails(file, test_split=0.25)


def test_a_table_is_trained_evaluated_and_resumed(imclass, undrawn, root: Path) -> None:
    write(root / "labels.csv", rows_of(root))
    quick = ["model=lenet", "train.batch_size=4", "train.steps=2", "device.threads=1", "dataset.resize=16"]
    quick += ["logger.plots=false"]
    typed = [
        "dataset=image_folder",
        "dataset.root=pictures/labels.csv",
        "name=t",
        *quick,
    ]
    outcome = imclass("train", *typed)
    assert outcome.code == 0, outcome.err
    assert "validation: split column of labels.csv; test: split column of labels.csv\n" in outcome.out
    summary = json.loads(Path("outputs/t/summary.json").read_text())
    shutil.copytree("outputs/t", "outputs/u")
    assert "test images, validation: split column of labels.csv; best" in imclass("report", "t", "u").out
    shutil.rmtree("outputs/u")
    for data in ("pictures/labels.csv", "pictures"):
        evaluated = json.loads(imclass("evaluate", "t", "--data", data, "--json").out)
        assert evaluated["accuracy"] == summary["test"]["accuracy"]
    assert "finished already" in imclass("train", *typed).out
    moved = ["dataset=image_folder", "dataset.root=elsewhere/labels.csv", *typed[2:]]
    shutil.copytree(root, "elsewhere")
    assert "finished already" in imclass("train", *moved).out
    save(Path("elsewhere/train/a/0.png"), seed=99)
    other = f"(dataset.root: {root}/labels.csv -> {Path('elsewhere').absolute()}/labels.csv"
    alone = "dataset.root alone may differ, where the images are the same; choose another name=, or"
    for more, words in (
        ([], f"began with {other})"),
        (["seed=1"], f"settings {other}; seed: 0 -> 1); {alone}"),
    ):
        outcome = imclass("train", *moved, *more)
        assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
        assert words in outcome.err
    write(root / "other.csv", [row[:2] for row in rows_of(root) if row[2] == "val"], "file,label")
    evaluated = json.loads(imclass("evaluate", "t", "--data", "pictures/other.csv", "--json").out)
    assert np.sum(evaluated["confusion_matrix"]) == 4
    outcome = imclass("evaluate", "t", "--data", "pictures/other.csv", "--split", "val")
    assert (outcome.code, outcome.err) == (
        2,
        "imclass: --split val: pictures/other.csv is not divided into parts; leave it out\n",
    )


def test_images_to_evaluate_need_no_training_rows(root: Path) -> None:
    rows = [row for row in rows_of(root) if row[2] == "test"]
    table = write(root / "test.csv", rows)
    classes, parts = read_table(table, "--data test.csv", least=1)
    assert classes == tuple(sorted({label for _, label, _ in rows}))
    assert [*parts] == ["test"] and len(parts["test"]) == len(rows)
    with pytest.raises(UserError, match="0 different labels in its training rows"):
        read_table(table, "dataset.root=test.csv")
