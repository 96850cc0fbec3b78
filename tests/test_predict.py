"""imclass predict: the same pixels as evaluate, any file, three formats, a sheet."""

import csv
import io
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from pictures import colours, make_folder, save
from PIL import Image
from test_folding import Terminal

from imclass.commands import predict, sheets
from imclass.config.dataset import SyntheticConfig
from imclass.config.schema import DatasetConfig
from imclass.data.datasets import load_dataset
from imclass.evaluation.prediction_rows import Prediction

SYNTHETIC = SyntheticConfig(shape=[1, 16, 16], classes=4, train=160, test=64)
KINDS = ["RGB", "L", "RGBA", "P", "1", "LA", "CMYK"]


def test_exported_test_images_get_the_predictions_of_evaluate(imclass, run, tmp_path: Path) -> None:
    data = load_dataset(DatasetConfig(name="synthetic", synthetic=SYNTHETIC))
    for index, image in enumerate(data.test.images):
        (tmp_path / "exported").mkdir(exist_ok=True)
        Image.fromarray(image[0].numpy()).save(tmp_path / f"exported/{index:03}.png")
    outcome = imclass("predict", "run", "exported", "--format", "json")
    assert outcome.code == 0, outcome.err
    said = [json.loads(line)["class"] for line in outcome.out.splitlines()]
    matrix = torch.zeros(4, 4, dtype=torch.int64)
    for label, name in zip(data.test.labels.tolist(), said, strict=True):
        matrix[label, data.classes.index(name)] += 1
    evaluation = json.loads((tmp_path / "outputs/run/evaluation.json").read_text())
    assert matrix.tolist() == evaluation["confusion_matrix"]


def test_a_resized_data_set_is_resized_in_the_same_way(imclass, train, tmp_path: Path) -> None:
    run = train("run", "dataset.resize=24")
    data = load_dataset(DatasetConfig(name="synthetic", synthetic=SYNTHETIC))
    (tmp_path / "exported").mkdir()
    for index, image in enumerate(data.test.images):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"exported/{index:03}.png")
    outcome = imclass("predict", "run", "exported", "--format", "json")
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    right = sum(r["class"] == data.classes[y] for r, y in zip(rows, data.test.labels.tolist(), strict=True))
    assert right / 64 == json.loads((run / "summary.json").read_text())["test"]["accuracy"]


def test_pictures_with_a_margin_are_read_as_evaluation_read_them(imclass, tmp_path: Path) -> None:
    draws = torch.Generator().manual_seed(0)
    for part, count in (("train", 12), ("test", 9)):
        for name, least in (("a", 60), ("b", 90)):
            (tmp_path / "pictures" / part / name).mkdir(parents=True)
            for index in range(count):
                noise = torch.randint(least, least + 90, (40, 30, 3), dtype=torch.uint8, generator=draws)
                Image.fromarray(noise.numpy()).save(tmp_path / "pictures" / part / name / f"{index}.png")
    data = ["dataset=image_folder", "dataset.root=pictures", "dataset.resize=16", "dataset.centre=0.8"]
    some = ["model=lenet", "train.batch_size=8", "train.epochs=2", "device.threads=1", "logger.plots=false"]
    outcome = imclass("train", "name=run", *data, *some, "dataset.val_split=4", "augment=photo")
    assert outcome.code == 0, outcome.err
    said = imclass("predict", "run", "pictures/test", "--format", "json").out.splitlines()
    rows = [json.loads(line) for line in said]
    evaluated = json.loads(imclass("evaluate", "run", "--json").out)
    other = json.loads(imclass("evaluate", "run", "--data", "pictures/test", "--json").out)
    matrix = torch.zeros(2, 2, dtype=torch.int64)
    for row in rows:
        matrix["ab".index(Path(row["file"]).parent.name), "ab".index(row["class"])] += 1
    assert matrix.tolist() == evaluated["confusion_matrix"] == other["confusion_matrix"]
    assert other["loss"] == pytest.approx(evaluated["loss"], abs=1e-9)


def test_transparent_pictures_are_predicted_as_they_were_trained(imclass, tmp_path: Path) -> None:
    """The classes differ in what is hidden under their transparent pixels: on white they are one picture."""
    for part, count in (("train", 8), ("test", 4)):
        for name, hidden in (("dark", 0), ("bright", 255)):
            (tmp_path / "icons" / part / name).mkdir(parents=True)
            for index in range(count):
                icon = Image.new("RGBA", (16, 16), (hidden, hidden, hidden, 0))
                icon.putpixel((index, 3), (10, 200, 30, 255))
                icon.save(tmp_path / "icons" / part / name / f"{index}.png")
    some = ["model=lenet", "train.batch_size=4", "train.epochs=5", "device.threads=1", "logger.plots=false"]
    some += ["dataset=image_folder", "dataset.root=icons", "dataset.val_split=4"]
    for background, told_apart in (("ignore", True), ("white", False)):
        outcome = imclass("train", f"name={background}", f"dataset.background={background}", *some)
        assert outcome.code == 0, outcome.err
        lines = imclass("predict", background, "icons/test", "--format", "json").out.splitlines()
        rows = [json.loads(line) for line in lines]
        right = [row["class"] == Path(row["file"]).parent.name for row in rows]
        assert sum(right) == (8 if told_apart else 4)
        other = json.loads(imclass("evaluate", background, "--data", "icons/test", "--json").out)
        assert other["accuracy"] == (1.0 if told_apart else 0.5)


def test_any_size_mode_and_name_and_what_is_no_image(imclass, run, tmp_path: Path) -> None:
    names = ["a b.png", "-x.png", "ü%d.gif", "$1.png", "UPPER.PNG", "no_extension", "q'.tiff"]
    for number, (name, mode) in enumerate(zip(names, KINDS, strict=True)):
        plain = tmp_path / "in" / f"{number}.png"
        save(plain, (5 + 90 * number, 300), "RGB")
        with Image.open(plain) as image:
            kind = "TIFF" if mode == "CMYK" else "GIF" if name.endswith("gif") else "PNG"
            image.convert(mode).save(tmp_path / "in" / name, format=kind)
        plain.unlink()
    (tmp_path / "in/text.png").write_text("no image")
    files = [f"in/{name}" for name in [*names, "text.png", "missing.jpg"]]
    outcome = imclass("predict", "run", *files, "--format", "csv", "--top-k", "9")
    assert outcome.code == 2
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    assert [row["file"] for row in rows] == files[:-2]
    assert all(abs(sum(float(v) for k, v in row.items() if "prob" in k) - 1) < 1e-4 for row in rows)
    assert list(rows[0])[:5] == ["file", "class", "probability", "class_2", "probability_2"]
    assert "in/text.png: not an image that Pillow can read" in outcome.err
    assert "in/missing.jpg: No such file or directory" in outcome.err
    assert outcome.err.endswith("imclass: 2 of 9 files could not be read as images\n")


def test_csv_has_the_file_names_as_they_are(imclass, run, tmp_path: Path) -> None:
    name = 'in/a "b",c;\td\ne ü.png'
    save(tmp_path / name, (16, 16))
    outcome = imclass("predict", "run", "in", "--format", "csv")
    assert [row["file"] for row in csv.DictReader(io.StringIO(outcome.out))] == [name]


def test_skipped_files_are_counted_and_doubles_are_predicted_once(imclass, run, tmp_path: Path) -> None:
    save(tmp_path / "in/1.png", (16, 16))
    for name in ("notes.txt", "IMG_1", ".hidden"):
        (tmp_path / "in" / name).write_text("no image")
    outcome = imclass("predict", "run", "in", "in/1.png")
    assert outcome.code == 0
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["in/1.png"]
    assert outcome.err == "imclass: in: skipped 2 of 3 files: not images\n"


def test_parts_of_a_batch_are_all_predicted_and_names_are_escaped(imclass, train, tmp_path: Path) -> None:
    train("run", "device.micro_batch=2")
    for name in ("1.png", "2.png", "3.png", "a\x1b[31m\nb.png", "5.png"):
        save(tmp_path / "in" / name, (16, 16))
    outcome = imclass("predict", "run", "in")
    assert (outcome.code, outcome.out.count("\n")) == (0, 5)
    assert "'in/a\\x1b[31m\\nb.png'" in outcome.out
    assert "\x1b" not in outcome.out


def test_table_lists_the_likeliest_classes_first(
    imclass, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "one.png", (16, 16))
    outcome = imclass("predict", "outputs/run", "one.png", "--top-k", "2")
    name, first, p1, second, p2 = outcome.out.split()
    assert (name, outcome.code) == ("one.png", 0)
    assert float(p1.rstrip("%")) >= float(p2.rstrip("%"))
    assert {first, second} <= {f"class{i}" for i in range(4)}
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    imclass("predict", "outputs/run", "one.png", "--top-k", "2")
    assert terminal.getvalue() == f"one.png  {first} {p1}\n    {second} {p2}\n"


def test_the_sheet_is_red_where_the_folder_knows_better(imclass, run, tmp_path: Path) -> None:
    save(tmp_path / "x/class0/1.png", (16, 16))
    outcome = imclass("predict", "run", "x", "--format", "json")
    said = json.loads(outcome.out)["class"]
    reds = {}
    for folder in (said, "class1" if said == "class0" else "class0"):
        save(tmp_path / f"y/{folder}/1.png", (16, 16))
        target = tmp_path / f"{folder}.png"
        assert imclass("predict", "run", f"y/{folder}", "--sheet", str(target)).code == 0
        reds[folder] = (0xCC, 0x33, 0x11) in colours(target)
    assert reds[said] is False
    assert sum(reds.values()) == 1


def test_the_true_class_and_the_accuracy_are_printed_where_folders_name_it(
    imclass, run, tmp_path: Path
) -> None:
    for number in range(6):
        save(tmp_path / f"x/class{number % 2}/{number}.png", (16, 16))
    save(tmp_path / "x/unknown/7.png", (16, 16))
    outcome = imclass("predict", "run", "x", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    assert {row["file"].split("/")[1]: row["truth"] for row in rows} == {
        "class0": "class0",
        "class1": "class1",
        "unknown": "",
    }
    right = sum(row["class"] == row["truth"] for row in rows)
    assert f"accuracy {right / 6:.2%}: {right} of 6 pictures whose folders name a class" in outcome.err
    table = imclass("predict", "run", "x").out.splitlines()
    assert table[0].split() == ["file", "truth", "predicted"]
    assert [line.split()[1] for line in table[1:4]] == ["class0"] * 3
    lines = [json.loads(line) for line in imclass("predict", "run", "x", "--format", "json").out.splitlines()]
    assert [line["truth"] for line in lines] == [row["truth"] or None for row in rows]


def test_a_list_of_pictures_with_and_without_labels(imclass, run, tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"list/in/{number}.png", (16, 16))
    (tmp_path / "list/plain.csv").write_text("File\nin/0.png\nin/2.png\n./in/0.png\n")
    outcome = imclass("predict", "run", "list/plain.csv", "--format", "csv")
    assert (outcome.code, outcome.err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    assert [row["file"] for row in rows] == ["list/in/0.png", "list/in/2.png"]
    said = rows[0]["class"]
    lines = f"{said};in/0.png;\nzebra;in/1.png;\n;in/2.png;test\nclass0;in/gone.png;test\n"
    text = f"label;file;split\n{lines}"  # as a spreadsheet writes it, or a table to train on
    (tmp_path / "list/labels.csv").write_text(text)
    code, out, err = imclass("predict", "run", "list/labels.csv", "--format", "csv")
    assert code == 2
    assert [row["truth"] for row in csv.DictReader(io.StringIO(out))] == [said, "", ""]
    assert "accuracy 100.00%: 1 of 1 picture whose labels name a class" in err
    assert "so not counted: the labels zebra" in err
    assert "list/in/gone.png: No such file" in err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "labels.csv: has no column 'file'; its columns: none; expected file, and perhaps label, in the"),
        ("path,label\n1.png,a\n", "its columns: path, label; expected file"),
        ("file,label\n", "labels.csv: has no rows below its header"),
        ("file,label\n1.png,a\n,b\n", "labels.csv: line 3: has no file"),
        ("file,label\n1.png\n", "labels.csv: line 2: has 1 field; expected 2"),
        ("file,label\n1.png,a\n1.png,b\n", "labels.csv: line 3: 1.png is also in line 2, as a"),
        ("file\n\udcff.png\n", "labels.csv: cannot be read as a table ('utf-8' codec"),
    ],
)
def test_a_faulty_list_is_one_line(imclass, run, tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "labels.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    outcome = imclass("predict", "run", "labels.csv")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1), outcome.err
    assert expected in outcome.err
    missing = imclass("predict", "run", "no/labels.csv").err
    assert "no/labels.csv: cannot be read as a table (No such file or directory)" in missing


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["run", "empty"], "empty: no images in this folder"),
        (["run", "emty"], "emty: no such file or folder; did you mean 'empty'?"),
        (["none", "x.png"], "none: no run folder"),
    ],
)
def test_mistakes_are_one_line(imclass, run, tmp_path: Path, argv: list[str], expected: str) -> None:
    (tmp_path / "empty").mkdir()
    save(tmp_path / "x.png")
    outcome = imclass("predict", *argv)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert expected in outcome.err


def test_a_sheet_that_cannot_be_written_is_one_line(imclass, run, tmp_path: Path) -> None:
    make_folder(tmp_path / "p", {".": 2})
    outcome = imclass("predict", "run", "p", "--sheet", "no/folder/here.png")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "--sheet no/folder/here.png: no such folder: no/folder" in outcome.err
    outcome = imclass("predict", "run", "p", "--sheet", "sheet.jpg")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "--sheet sheet.jpg: expected a name that ends in .png: sheet.png" in outcome.err
    assert outcome.out == ""


def test_a_sheet_never_replaces_a_file(imclass, run, tmp_path: Path) -> None:
    make_folder(tmp_path / "p", {"": 2}, classes="a")
    picture = (tmp_path / "p/a/0.png").read_bytes()
    outcome = imclass("predict", "run", "p/a/1.png", "--sheet", "p/a/../a/0.png")
    assert (outcome.code, outcome.err.count("\n"), outcome.out) == (2, 1, "")
    assert "--sheet p/a/../a/0.png: is there already; name another file, or remove it" in outcome.err
    assert (tmp_path / "p/a/0.png").read_bytes() == picture


def predicted_a(file: str, truth: str | None = None) -> Prediction:
    return Prediction(Path(file), torch.zeros(1, 8, 8, dtype=torch.uint8), [("a", 0.9)], truth)


def test_a_sheet_of_some_pictures_is_spread_over_the_predicted_classes(
    imclass, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheets, "ON_SHEET", 4)
    shown = sheets.Shown()
    for number, predicted in enumerate([0] * 5 + [2, 1, 2]):
        shown.add(predicted_a(str(number)), predicted)
    chosen = [(prediction.file.name, predicted) for prediction, predicted in shown.chosen()]
    assert chosen == [("0", 0), ("5", 2), ("6", 1), ("7", 2)]
    titles: list[str] = []
    monkeypatch.setattr(
        "imclass.reports.plots.plot_pictures", lambda pictures, title, _: titles.append(title)
    )
    make_folder(tmp_path / "p", {".": 3})
    outcome = imclass("predict", "run", "p", "--sheet", "s.png")
    assert (outcome.code, outcome.err) == (0, "sheet written to s.png: 4 of 6 pictures\n")
    assert titles == [
        "Predictions of run, 4 of 6 pictures, errors first, then evenly over the predicted classes"
    ]


def test_a_sheet_of_some_pictures_shows_the_errors_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "ON_SHEET", 4)
    shown, few = sheets.Shown(), sheets.Shown()
    for number in range(9):
        few.add(predicted_a(str(number), "b" if number in (5, 8) else "a"), number % 2)
        shown.add(predicted_a(str(number), "a" if number in (0, 4) else "b"), 0 if number < 6 else 1)
    assert [prediction.file.name for prediction, _ in few.chosen()] == ["0", "1", "5", "8"]
    assert few.part == "4 of 9 pictures, 2 of 2 errors"
    assert [prediction.file.name for prediction, _ in shown.chosen()] == ["1", "2", "6", "7"]
    assert shown.part == "4 of 9 pictures, 4 of 7 errors"


def test_a_caption_names_the_folder_where_another_file_has_the_same_name() -> None:
    files = ["p/a/0.png", "p/b/0.png", "p/b/1.png"]
    captions = [p.caption for p in sheets._pictures([predicted_a(file, "b") for file in files])]
    assert captions == ["a 90%\nis b\na/0.png", "a 90%\nis b\nb/0.png", "a 90%\nis b\n1.png"]


def test_pictures_in_a_folder_without_extension_and_behind_links(imclass, run, tmp_path: Path) -> None:
    make_folder(tmp_path / "elsewhere", {"": 1}, classes="a")
    (tmp_path / "p").mkdir()
    (tmp_path / "p/IMG_1").write_bytes((tmp_path / "elsewhere/a/0.png").read_bytes())
    (tmp_path / "p/notes").write_text("no image")
    (tmp_path / "p/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "p/round").symlink_to(tmp_path / "p")
    outcome = imclass("predict", "run", "p")
    assert outcome.code == 0
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["p/IMG_1", "p/link/a/0.png"]
    assert "p: skipped 1 of 3 files: not images" in outcome.err


def test_red_for_a_class_whose_name_no_folder_can_have() -> None:
    image = torch.zeros(1, 8, 8, dtype=torch.uint8)
    files = [Path(folder, "1.png") for folder in ("T-shirt_top", "Bag", "pictures")]
    truths = predict._truths(files, {}, ["T-shirt/top", "Bag"])
    for file, right in zip(files, (True, False, None), strict=True):
        (picture,) = sheets._pictures([Prediction(file, image, [("T-shirt/top", 0.9)], truths.get(file))])
        assert picture.right is right


@pytest.mark.fault("S11", "D3")
@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_what_is_no_file_costs_a_line_and_the_rest_is_predicted(
    imclass, run, tmp_path: Path, form: str
) -> None:
    make_folder(tmp_path / "p", {"": 3}, classes="a")
    (tmp_path / "p/a/1.png").write_bytes(b"damaged")
    (tmp_path / "p/a/gone.png").symlink_to("nowhere")
    (tmp_path / "p/a/zero.png").symlink_to("/dev/zero")
    (tmp_path / "p/a/round.png").symlink_to("round.png")
    (tmp_path / "p/a/folder.png").mkdir()
    os.mkfifo(tmp_path / "p/a/x.png")
    os.mkfifo(tmp_path / "p/a/y")
    outcome = imclass(
        "predict", "run", "p", "p/a/x.png", "p/a/y", "p/a/folder.png/missing.png", "--format", form
    )
    assert outcome.code == 2
    assert "p/a/0.png" in outcome.out
    assert "p/a/2.png" in outcome.out
    assert outcome.out.count("\n") == (3 if form == "csv" else 2)
    assert outcome.err.splitlines() == [
        "imclass: p: skipped 1 of 8 files: not images",
        "imclass: p/a/1.png: not an image that Pillow can read",
        "imclass: p/a/gone.png: No such file or directory",
        "imclass: p/a/round.png: Too many levels of symbolic links",
        "imclass: p/a/x.png: not a regular file but a FIFO",
        "imclass: p/a/zero.png: not a regular file but a device",
        "imclass: p/a/y: not a regular file but a FIFO",
        "imclass: p/a/folder.png/missing.png: No such file or directory",
        "imclass: 7 of 9 files could not be read as images",
    ]


@pytest.mark.fault("S5")
@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_names_move_no_cursor(imclass, run, tmp_path: Path, form: str) -> None:
    name = "p/\x1b]0;title\x07\r\x9b2J$x$ é\u3000.png"
    save(tmp_path / name, (16, 16))
    (tmp_path / "p/\x1b[31m.png").write_bytes(b"damaged")
    outcome = imclass("predict", "run", "p", "--format", form, "--sheet", "sheet.png")
    assert outcome.code == 2
    assert not {"\x1b", "\x07", "\r", "\x9b"} & {*outcome.out, *outcome.err}
    assert "\\x1b[31m.png" in outcome.err
    if form == "json":
        assert json.loads(outcome.out)["file"] == name
    if form == "csv":
        assert "p/\\x1b]0;title\\x07\\x0d\\x9b2J$x$ é\u3000.png" in outcome.out
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_the_message_on_missing_weights_names_others_that_work(imclass, run, tmp_path: Path) -> None:
    Image.new("L", (16, 16)).save(tmp_path / "x.png")
    best = imclass("predict", "run", "x.png", "--format", "csv").out
    (run / "checkpoints/best.pt").unlink()
    refused = imclass("predict", "run", "x.png")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "best.pt: no such file; --weights last or FILE chooses other weights" in refused.err
    assert imclass("predict", "run", "x.png", "--weights", "last").code == 0
    file = str(run / "best.safetensors")
    assert imclass("predict", "run", "x.png", "--format", "csv", "--weights", file).out == best
    assert "expected best, last, or a file" in imclass("predict", "run", "x.png", "--weights", "lost").err
