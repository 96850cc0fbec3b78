"""imclass report: one file that needs nothing else; comparisons with mean and spread over seeds."""

import base64
import csv
import json
import os
import re
import shutil
import statistics
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from conftest import QUICK, merged
from pictures import make_folder

from imclass import cli
from imclass.config.schema import Config, values_of
from imclass.reports.comparison import differing_settings
from imclass.reports.html import brief_path, brief_paths
from imclass.runs.records import RunRecord

VOID = {"meta", "img", "br"}
OF_A_SPLIT = ["calibration.png", "confusion_matrix.png", "mistakes.png", "predictions.png"]


class Page(HTMLParser):
    """Checks that tags nest, and collects the text and what would be fetched from elsewhere."""

    def __init__(self, file: Path):
        super().__init__()
        self.open: list[str] = []
        self.text, self.links = "", []
        self.pictures = 0
        self.feed(file.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.pictures += tag == "img"
        for name, value in attrs:
            if name in ("src", "href") and not (value or "").startswith("data:image/png;base64,"):
                self.links.append(value)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += " ".join(data.split()) + " "


def test_a_run_ends_with_a_report_that_needs_nothing_else(finished: Path) -> None:
    page = Page(finished / "report.html")
    assert page.links == []
    assert page.pictures == 7
    summary = json.loads((finished / "summary.json").read_text())
    for text in (
        f"test accuracy {100 * summary['test']['accuracy']:.2f} %",
        "lenet on synthetic (144 training, 16 validation, 64 test images), finished",
        "imclass train name=run",
        "optimizer.lr 0.05",
        summary["run"],
        "data_fingerprint",
        "class3",
    ):
        assert text in page.text, text
    assert "biased" not in page.text
    assert "Images per class" not in page.text  # the plot's own title says it
    differing = page.text[page.text.index("differ from a bare") : page.text.index("All settings")]
    assert "optimizer.lr" in differing
    assert "optimizer.momentum" not in differing
    assert "scheduler.warmup" not in differing
    assert "<script" not in (finished / "report.html").read_text()


def test_a_run_ends_well_where_the_current_folder_takes_no_runs(train, tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file")
    train("run", "train.epochs=0.2", f"output_dir={tmp_path}/elsewhere")
    run = tmp_path / "elsewhere/run"
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"
    assert (run / "report.html").exists()


def test_validation_on_the_test_set_is_stamped_into_the_report(train) -> None:
    assert "dataset.val_split=test" in Page(train("run", "dataset.val_split=test") / "report.html").text


def test_report_is_written_again_on_demand(imclass, run, tmp_path: Path) -> None:
    before = Page(run / "report.html").text
    for file in (run / "report.html", run / "plots/curves.png", run / "plots/confusion_matrix.png"):
        file.unlink()
    outcome = imclass("report", "run")
    assert (outcome.code, outcome.out) == (0, "outputs/run/report.html\n")
    assert Page(run / "report.html").text == before
    assert Page(run / "report.html").pictures == 7
    assert imclass("report", str(run), "--out", "here.html").out == "here.html\n"
    assert (tmp_path / "here.html").exists()


def test_without_plots_none_is_drawn_and_the_page_names_what_it_lacks(imclass, run, train) -> None:
    """A longer training does not keep those of the shorter one."""
    assert Page(run / "report.html").pictures == 7
    train("run", "train.epochs=2.2", "logger.plots=false")
    assert sorted(file.name for file in (run / "plots").iterdir()) == ["classes.png", "samples.png"]
    run = train("none", "logger.plots=false")
    assert not (run / "plots").exists()
    assert image_tags(run) == []
    page = Page(run / "report.html")
    assert page.pictures == 0
    assert "Not drawn (logger.plots=false): curves, confusion matrix, calibration," in page.text
    assert imclass("evaluate", "none").code == 0
    page = Page(run / "report.html")
    assert (page.pictures, "Not drawn" in page.text) == (7, False)
    assert Page(train("bad", "optimizer.lr=1e30", "logger.plots=false", code=3) / "report.html").pictures == 0


def image_tags(run: Path) -> list[str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run))
    events.Reload()
    return events.Tags()["images"]


def test_a_diverged_run_has_a_report_too(imclass, train) -> None:
    diverging = "optimizer.lr=1e30", "train.log_every=1st", "logger.plots=true"
    page = train("run", *diverging, code=3) / "report.html"
    assert "diverged" in Page(page).text
    assert Page(page).pictures == 3  # curves, training images and classes
    before = page.read_text()
    outcome = imclass("report", "run")
    assert outcome.code == 0, outcome.err
    assert page.read_text() == before


def test_a_run_that_was_killed_before_its_first_step_has_a_report_too(imclass, run) -> None:
    for name in ("summary.json", "evaluation.json", "metrics.jsonl", "provenance.json"):
        (run / name).unlink()
    assert imclass("report", "run").code == 0
    assert "failed" in Page(run / "report.html").text


def test_a_folder_with_a_foreign_config_is_one_line(imclass, tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/config.yaml").write_text("lr: 1")
    outcome = imclass("report", "foreign")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "config.yaml: was not written by imclass; it lacks model.name" in outcome.err


def test_names_from_elsewhere_are_no_markup(imclass, run) -> None:
    scores = json.loads((run / "evaluation.json").read_text())
    scores["classes"][0]["name"] = "<script>alert(1)</script>"
    (run / "evaluation.json").write_text(json.dumps(scores))
    assert imclass("report", "run").code == 0
    assert "<script" not in (run / "report.html").read_text()


@pytest.mark.fault("S5")
def test_whatever_a_strangers_run_holds_is_no_markup_and_no_formula(imclass, run) -> None:
    """Each text of each file, and the folder's own name; plots read class names too."""
    evil = "<img src=x onerror=alert(1)>$\\frac{"
    other = run.rename(run.parent / f"{evil.replace('/', '')}")
    for name in ("summary.json", "provenance.json", "evaluation.json"):
        tree = json.loads((other / name).read_text())
        (other / name).write_text(json.dumps(with_texts(tree, evil, keep=("finished",))))
    config = (other / "config.yaml").read_text().replace("name: lenet", f"name: '{evil}'")
    (other / "config.yaml").write_text(config)
    shutil.copytree(other, run.parent / "stopped")
    summary = json.loads((other / "summary.json").read_text()) | {"status": "failed"}
    (run.parent / "stopped/summary.json").write_text(json.dumps(summary))
    (run.parent / "stopped/train.log").write_bytes(evil.encode() + b"\xff\n")
    assert imclass("report", str(other)).code == 0
    assert imclass("report", "outputs").code == 0
    for page in (other / "report.html", run.parent / "comparison.html"):
        text = page.read_text()
        assert "<img src=x" not in text and "&lt;img src=x" in text
        assert Page(page).links == []


def with_texts(tree: Any, text: str, keep: tuple[str, ...]) -> Any:
    """Return a JSON tree with every text replaced, but for those to keep."""
    if isinstance(tree, dict):
        return {key: with_texts(value, text, keep) for key, value in tree.items()}
    if isinstance(tree, list):
        return [with_texts(value, text, keep) for value in tree]
    return text if isinstance(tree, str) and tree not in keep else tree


def test_a_class_whose_name_is_no_unicode(imclass, tmp_path: Path) -> None:
    """A folder from an old zip: M\xf6we in Latin-1."""
    folder = os.fsdecode(b"M\xf6we")
    make_folder(tmp_path / "pictures", {".": 10}, classes=["a", folder], size=(16, 16))
    small = [
        "model=lenet",
        "train.batch_size=4",
        "train.steps=2",
        "device.threads=1",
        "device.precision=fp32",
    ]
    outcome = imclass("train", "name=run", "dataset=image_folder", "dataset.root=pictures", *small)
    assert outcome.code == 0, outcome.err
    assert json.loads((tmp_path / "outputs/run/summary.json").read_text())["status"] == "finished"
    assert "M\\udcf6we" in Page(tmp_path / "outputs/run/report.html").text
    for command in (["evaluate", "run"], ["report", "run"], ["predict", "run", "pictures"]):
        assert imclass(*command).code == 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rates with two seeds each, and one run that diverged."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("trained"))
        patch.delenv("SLURM_JOB_ID", raising=False)
        for name, rate in {"a0": 0.05, "a1": 0.05, "b0": 0.0001, "b1": 0.0001}.items():
            own = [f"optimizer.lr={rate}", f"seed={name[1]}"]
            assert cli.main(["train", f"name={name}", *merged(QUICK, own)]) == 0
        assert cli.main(["train", "name=c", *merged(QUICK, ["optimizer.lr=1e30"])]) == 3
        return Path.cwd() / "outputs"


@pytest.fixture
def sweep(imclass, trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "outputs")


def test_comparison_groups_seeds_and_puts_the_best_first(imclass, sweep: Path) -> None:
    outcome = imclass("report", "outputs")
    assert outcome.code == 0, outcome.err
    rows = list(csv.DictReader((sweep / "comparison.csv").read_text().splitlines()))
    assert [(row["runs"], row["count"], row["status"]) for row in rows] == [
        ("a0 a1", "2", "finished"),
        ("b0 b1", "2", "finished"),
        ("c", "1", "diverged"),
    ]
    assert [row["optimizer.lr"] for row in rows] == ["0.05", "0.0001", "1e+30"]
    assert not {"seed", "name", "model.name"} & set(rows[0])
    tests = [json.loads((sweep / n / "summary.json").read_text())["test"]["accuracy"] for n in ("a0", "a1")]
    assert float(rows[0]["test_accuracy"]) == pytest.approx(statistics.fmean(tests))
    assert float(rows[0]["test_accuracy_std"]) == pytest.approx(statistics.stdev(tests))
    page = Page(sweep / "comparison.html")
    assert page.pictures == 1
    assert page.links == []
    assert page.text.index("a0, a1") < page.text.index("b0, b1") < page.text.index("diverged")
    assert f"{100 * statistics.fmean(tests):.2f} % ± {100 * statistics.stdev(tests):.2f}" in page.text
    assert "optimizer.lr" in page.text
    assert "train.epochs" not in page.text
    assert re.search(r"validation \d+\.\d\d% ± .*  test .*  a0, a1: lr 0.05", outcome.out)
    assert not list(sweep.glob(".tmp*"))


def test_runs_by_name_and_a_place_for_the_page(imclass, sweep: Path, tmp_path: Path) -> None:
    assert imclass("report", "a0", "outputs/b0", "a0", "--out", "two.html").code == 0
    rows = list(csv.DictReader((tmp_path / "two.csv").read_text().splitlines()))
    assert [row["runs"] for row in rows] == ["a0", "b0"]
    assert rows[0]["test_accuracy_std"] == ""


def test_runs_of_multiruns_are_compared_by_their_names_and_those_of_sweeps_are_not(
    imclass, run: Path, tmp_path: Path
) -> None:
    for place in ("four/lr-0.1", "sweeps/quick/trial-0", "four/lr-0.1/evaluations/old"):
        shutil.copytree(run, tmp_path / "outputs" / place)
    (tmp_path / "outputs/sweeps/quick/sweep.yaml").touch()
    logging = (run / "config.yaml").read_text().replace("log_every: 3st", "log_every: 1st")
    (tmp_path / "outputs/four/lr-0.1/config.yaml").write_text(logging)
    outcome = imclass("report", "outputs")
    assert outcome.code == 0, outcome.err
    (row,) = csv.DictReader((tmp_path / "outputs/comparison.csv").read_text().splitlines())
    assert row["runs"] == "four/lr-0.1 run"
    assert "train.log_every" not in row
    assert "four/lr-0.1, run" in Page(tmp_path / "outputs/comparison.html").text


def test_runs_on_other_images_or_another_split_are_ranked_apart(imclass, train, tmp_path: Path) -> None:
    short = "train.epochs=0.3"
    train("a", short)
    train("b", short, "optimizer.lr=0.001", "logger.tensorboard=false", "logger.plots=false")
    train("more", short, "dataset.synthetic.train=240")
    train("split", short, "dataset.val_split=0.25")
    outcome = imclass("report", "outputs")
    assert outcome.code == 0, outcome.err
    groups: dict[str, set[str]] = {}
    for row in csv.DictReader((tmp_path / "outputs/comparison.csv").read_text().splitlines()):
        groups.setdefault(row["data"], set()).update(row["runs"].split())
        assert not {"logger.tensorboard", "logger.plots", "name", "output_dir", "debug"} & row.keys()
    assert sorted(map(sorted, groups.values())) == [["a", "b"], ["more"], ["split"]]
    settings = (tmp_path / "outputs/more/config.yaml").read_text()
    assert "label_smoothing: 0.0" in settings  # as if the setting were newer than this run
    (tmp_path / "outputs/more/config.yaml").write_text(settings.replace("  label_smoothing: 0.0\n", ""))
    assert imclass("report", "outputs").code == 0
    (header, *_) = csv.reader((tmp_path / "outputs/comparison.csv").read_text().splitlines())
    assert "train.label_smoothing" not in header
    page = Page(tmp_path / "outputs/comparison.html")
    assert "optimizer.lr" in page.text and "validation: stratified 25 % of train" in page.text
    assert "dataset.val_split" not in page.text  # each table has the settings that differ in it
    assert page.pictures == 3 and "ranked within the same images" in page.text
    for data in groups:
        assert data in page.text
        assert f"{data}; best validation accuracy first" in outcome.out.splitlines()


def test_pictures_in_several_sizes_are_the_same_images_and_pages_name_no_folder_of_a_user(
    imclass, tmp_path: Path
) -> None:
    place = tmp_path / "home/me"
    make_folder(place / "pictures", {"train": 8, "test": 2}, size=(32, 32))
    quick = [
        "model=lenet",
        "train.batch_size=4",
        "train.steps=2",
        "device.threads=1",
        "device.precision=fp32",
        "logger.plots=false",
    ]
    data = ["dataset=image_folder", f"dataset.root={place / 'pictures'}"]
    (tmp_path / "here").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "here")
        for size in (28, 32):
            assert imclass("train", f"name=s{size}", f"dataset.resize={size}", *data, *quick).code == 0
        assert imclass("report", "outputs").code == 0
        lines = (tmp_path / "here/outputs/comparison.csv").read_text().splitlines()
        (name,) = {row["data"] for row in csv.DictReader(lines)}
        assert name.startswith("image_folder pictures: ")
        for page in ("comparison.html", "s28/report.html"):
            # Commands are printed as they were typed.
            body = (tmp_path / "here/outputs" / page).read_text().replace("dataset.root=" + str(place), "")
            assert str(place) not in body


def test_a_copy_of_a_run_is_no_spread_over_seeds(imclass, run, tmp_path: Path) -> None:
    shutil.copytree(run, run.parent / "copy")
    outcome = imclass("report", "outputs")
    assert outcome.code == 0
    assert "copy, run" in outcome.out and "±" not in outcome.out
    (row,) = csv.DictReader((run.parent / "comparison.csv").read_text().splitlines())
    assert (row["count"], row["test_accuracy_std"]) == ("2", "")


@pytest.mark.parametrize(
    ("chosen", "by", "first"),
    [
        (("macro_f1", "macro_f1"), "macro F1", "b: macro F1 50.00%, accuracy 50.00%"),
        (("loss", "loss"), "loss", "b: loss 1.0000, accuracy 50.00%"),
        (("macro_f1", "loss"), "accuracy", "a: 75.00%"),
    ],
)
def test_runs_are_ranked_by_the_metric_that_all_chose(
    imclass, run, chosen: tuple[str, str], by: str, first: str
) -> None:
    """Of a, the accuracy is better; of b, all else."""
    figures = {"accuracy": (0.75, 0.5), "macro_f1": (0.25, 0.5), "loss": (2.0, 1.0)}
    settings = (run / "config.yaml").read_text()
    summary = json.loads((run / "summary.json").read_text())
    for number, (name, metric) in enumerate(zip("ab", chosen, strict=True)):
        shutil.copytree(run, other := run.parent / name)
        changed = settings.replace("metric: accuracy", f"metric: {metric}")
        changed = changed.replace("lr: 0.05", f"lr: 0.{number + 1}")
        (other / "config.yaml").write_text(changed)
        summary["best"] |= {key: pair[number] for key, pair in figures.items()}
        (other / "summary.json").write_text(json.dumps(summary))
    shutil.rmtree(run)
    outcome = imclass("report", "outputs")
    assert outcome.code == 0, outcome.err
    (row, _) = csv.DictReader((run.parent / "comparison.csv").read_text().splitlines())
    best, figures_of_best = first.split(": ")
    assert row["runs"] == best
    assert f"Best validation {by} first." in Page(run.parent / "comparison.html").text
    data, line, *_ = outcome.out.splitlines()
    assert data.endswith(f"; best validation {by} first")
    assert line.startswith(f"validation {figures_of_best}  test ") and f"  {best}: " in line


def test_a_multirun_is_compared(imclass, tmp_path: Path) -> None:
    assert imclass("train", "-m", "seed=0,1", *merged(QUICK, ["train.epochs=0.5"])).code == 0
    outcome = imclass("report", "outputs")
    assert outcome.code == 0
    assert re.search(r"test .* ± .*_lenet_synthetic, .*_lenet_synthetic", outcome.out)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["nothing"], "nothing: no run, and no folder with runs"),
        (["rum"], "here or in outputs/; did you mean 'run'?"),
        (["run", "--out", "no/folder.html"], "--out no/folder.html: no such folder"),
        (["run", "--out", "table.csv"], "--out table.csv: expected the name of a page, such as table.html"),
    ],
)
def test_mistakes_are_one_line(imclass, run, argv: list[str], expected: str) -> None:
    outcome = imclass("report", *argv)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert expected in outcome.err


def test_a_damaged_record_is_named(imclass, run) -> None:
    shutil.copytree(run, run.parent / "sound")
    (run / "summary.json").write_text("{")
    outcome = imclass("report", "run")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "summary.json: not a valid summary.json (not JSON: " in outcome.err
    outcome = imclass("report", "outputs")
    assert (outcome.code, outcome.err.count("\n")) == (1, 1)  # the rest was done
    assert "left out: outputs/run/summary.json: not a valid summary.json" in outcome.err
    rows = list(csv.DictReader((run.parent / "comparison.csv").read_text().splitlines()))
    assert [row["runs"] for row in rows] == ["sound"]


def test_other_evaluations_do_not_replace_that_of_training(imclass, run) -> None:
    before = {name: (run / "plots" / name).read_bytes() for name in OF_A_SPLIT}
    text = (run / "evaluation.json").read_text()
    assert imclass("evaluate", "run", "--split", "train", "--tta", "flip_shift").code == 0
    folder = run / "evaluations/train_flip_shift"
    assert json.loads((folder / "evaluation.json").read_text())["tta"] == "flip_shift"
    assert sorted(p.name for p in (folder / "plots").iterdir()) == OF_A_SPLIT
    assert {name: (run / "plots" / name).read_bytes() for name in OF_A_SPLIT} == before
    assert (run / "evaluation.json").read_text() == text


def test_all_plots_of_the_end_of_training_can_be_made_again(imclass, train) -> None:
    run = train("run", "augment.mixup=0.2", "logger.plots=true")
    before = {file.name: file.read_bytes() for file in (run / "plots").iterdir()}
    assert set(before) == {*OF_A_SPLIT, "classes.png", "curves.png", "samples.png"}
    shutil.rmtree(run / "plots")
    outcome = imclass("report", "run")
    assert (
        "plots: mistakes, predictions, samples, classes; to draw them: imclass evaluate outputs/run"
        in outcome.err
    )
    assert imclass("evaluate", "run").code == 0
    assert (run / "report.html").read_text().count("<img") == 7
    assert {file.name: file.read_bytes() for file in (run / "plots").iterdir()} == before


@pytest.mark.parametrize("entry", ["test", "best"])
def test_a_figure_that_was_changed_by_hand_is_warned_about(imclass, run: Path, entry: str) -> None:
    shutil.copytree(run, run.parent / "sound")
    summary = json.loads((run / "summary.json").read_text())
    true, summary[entry]["accuracy"] = summary[entry]["accuracy"], 0.125
    (run / "summary.json").write_text(json.dumps(summary))
    problem = f"{entry} accuracy 0.125, where metrics.jsonl has {true:g}"
    warning = f"imclass: warning: outputs/run/summary.json: {problem}; see imclass verify outputs/run\n"
    again = ["train", "name=run", *merged(QUICK, ["logger.plots=true"])]
    for command in (["report", "run"], ["report", "outputs"], ["evaluate", "run"], again):
        outcome = imclass(*command)
        assert (outcome.code, outcome.err) == (0, warning)
    assert imclass("verify", "run").code == 2


@pytest.mark.fault("S11")
@pytest.mark.parametrize("how", ["link", "text"])
def test_only_pictures_of_the_run_are_embedded(imclass, run: Path, how: str) -> None:
    key, plot = run.parent / "key", run / "plots/samples.png"
    shutil.copy(plot, key)
    plot.unlink()
    plot.symlink_to(key) if how == "link" else plot.write_text("secret")
    outcome = imclass("report", "run")
    assert outcome.code == 0
    assert "missing plots: samples" in outcome.err
    assert base64.b64encode(key.read_bytes()).decode() not in (run / "report.html").read_text()


def test_a_resumed_run_says_so_in_words(imclass, run: Path) -> None:
    provenance = json.loads((run / "provenance.json").read_text())
    sessions = [{"started": "2026-01-02T03:04:05+00:00", "command": ["imclass"]}]
    sessions += [sessions[0] | {"threads": 4, "git": {"commit": "abc"}}]
    (run / "provenance.json").write_text(json.dumps(provenance | {"resumed": sessions}))
    assert imclass("report", "run").code == 0
    text = Page(run / "report.html").text
    expected = "resumed 2026-01-02 03:04:05 UTC, with all else the same 2026-01-02 03:04:05 UTC, with other "
    assert f"{expected}threads 4, git.commit abc" in text


@pytest.mark.parametrize("given", ["./pictures/", "a/../pictures", "pictures//"])
def test_paths_are_written_as_they_are_meant(given: str) -> None:
    assert brief_path(given) == "pictures"
    assert brief_path("https://example.org//x") == "https://example.org//x"


def test_paths_are_shortened_as_far_as_they_stay_apart() -> None:
    found = brief_paths(["/a/best.pt", "/b/best.pt", "/a/last.pt", 3])
    assert [*found.values()] == ["/a/best.pt", "/b/best.pt", "last.pt", "3"]
    assert [*brief_paths(["/a/../a/best.pt", "/a/best.pt"]).values()] == ["best.pt", "best.pt"]


def record(**settings: Any) -> RunRecord:
    return RunRecord(Path("run"), values_of(Config()) | settings, {}, {}, [], {})


def test_measured_steps_are_no_difference_and_typed_ones_are() -> None:
    measured = [record(**{"train.budget": "1min", "train.steps": steps}) for steps in (70, 80)]
    assert differing_settings(measured) == []
    assert differing_settings([record(**{"train.steps": steps}) for steps in (70, 80)]) == ["train.steps"]


@pytest.mark.parametrize("rival", [{"train.budget": "1min", "train.steps": 70}, {"train.steps": 70}])
def test_epochs_without_effect_are_no_difference(rival: dict[str, Any]) -> None:
    assert differing_settings([record(**rival, **{"train.epochs": epochs}) for epochs in (3, 5)]) == []
    assert "train.epochs" in differing_settings([record(**rival), record()])


def test_folds_leave_the_test_images_alone() -> None:
    assert not record().validates_on_test
    assert record(**{"dataset.val_split": "test"}).validates_on_test
    assert not record(**{"dataset.val_split": "test", "dataset.folds": 5}).validates_on_test
