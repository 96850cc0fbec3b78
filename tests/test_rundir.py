"""Run folders: names, continuation, refusals. Rows R5, R7, R8 and C10 of the list of faults."""

import datetime
import errno
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import QUICK, merged, records
from omegaconf import OmegaConf

from imclass.config.schema import CheckpointConfig, Config
from imclass.errors import UserError
from imclass.runs.atomic import write_atomically
from imclass.runs.folder import open_run
from imclass.runs.locks import NoLocksError, locked
from imclass.training.banner import last_block


def tree(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file()}


@pytest.mark.fault("R5")
def test_a_finished_run_is_repeated_by_its_summary_and_nothing_is_touched(imclass, run) -> None:
    before = tree(run)
    outcome = imclass("train", "name=run", *QUICK)
    assert outcome.code == 0
    assert "finished already" in outcome.out
    assert json.loads(before["summary.json"])["test"]["accuracy"] is not None
    assert "test         accuracy" in outcome.out
    assert tree(run) == before


@pytest.mark.fault("R9")
def test_a_finished_run_that_lacks_a_file_gets_it_by_the_same_command(imclass, run) -> None:
    """As runs of imclass 0.1 that were killed before their report was written."""
    before = tree(run)
    for name in ("report.html", "best.safetensors", "evaluation.json"):
        (run / name).unlink()
    outcome = imclass("train", "name=run", *merged(QUICK, ["logger.plots=true"]))
    assert outcome.code == 0, outcome.err
    after = tree(run)
    assert {name for name in before if "events" not in name} <= after.keys()
    assert after["evaluation.json"] == before["evaluation.json"]
    assert records_of(after) == records_of(before)
    for key in ("status", "best", "test"):
        assert json.loads(after["summary.json"])[key] == json.loads(before["summary.json"])[key]
    assert "finished already" in imclass("train", "name=run", *QUICK).out


def records_of(files: dict[str, bytes]) -> list[dict[str, object]]:
    points = map(json.loads, files["metrics.jsonl"].splitlines())
    return [{key: value for key, value in point.items() if key != "images_per_second"} for point in points]


@pytest.mark.fault("R9")
def test_a_finished_run_without_checkpoints_is_not_trained_again(imclass, run) -> None:
    shutil.rmtree(run / "checkpoints")
    (run / "report.html").unlink()
    before = tree(run)
    outcome = imclass("train", "name=run", *QUICK)
    assert (outcome.code, "finished already" in outcome.out) == (0, True)
    assert tree(run) == before


@pytest.mark.fault("R9")
@pytest.mark.parametrize("damage", ["last.pt", "best.pt"])
def test_a_finished_run_that_cannot_be_completed_keeps_its_summary(imclass, run, damage: str) -> None:
    (run / "checkpoints/previous.pt").unlink()
    (run / "checkpoints" / damage).write_bytes(b"nothing")
    (run / "report.html").unlink()
    summary = (run / "summary.json").read_bytes()
    assert imclass("train", "name=run", *QUICK).code == 2
    assert (run / "summary.json").read_bytes() == summary


@pytest.mark.fault("C10")
def test_other_settings_under_the_same_name_are_refused_with_the_differences(imclass, run) -> None:
    before = tree(run)
    outcome = imclass("train", "name=run", *merged(QUICK, ["optimizer.lr=0.01", "seed=3"]))
    assert outcome.code == 2
    assert "optimizer.lr: 0.05 -> 0.01" in outcome.err
    assert "seed: 0 -> 3" in outcome.err
    assert tree(run) == before


@pytest.mark.fault("C10")
def test_a_longer_training_continues_a_finished_run(imclass, run) -> None:
    before = json.loads((run / "summary.json").read_text())
    before["seconds"]["total"] += 1000  # before its first step
    (run / "summary.json").write_text(json.dumps(before))
    outcome = imclass("train", "name=run", *merged(QUICK, ["train.epochs=3"]))
    assert outcome.code == 0
    assert "changed  train.epochs: 2 -> 3" in outcome.out
    after = json.loads((run / "summary.json").read_text())
    assert after["step"] == 27
    assert after["seconds"]["train"] > before["seconds"]["train"]
    assert after["seconds"]["total"] > before["seconds"]["total"]  # a new test pass takes the old one's place
    assert [r["step"] for r in records(run, split="val")] == [9, 18, 27]
    assert len(records(run, split="test")) == 1


def test_a_longer_training_that_ends_while_it_begins_is_continued(imclass, run, monkeypatch) -> None:
    def ends(*args: object, **options: object) -> None:
        raise UserError("killed")

    argv = ("train", "resume=outputs/run", "train.epochs=3")
    with monkeypatch.context() as patch:
        patch.setattr("imclass.training.build.RunLogger", ends)
        assert imclass(*argv).err == "imclass: killed\n"
    assert imclass(*argv).code == 0
    assert [r["step"] for r in records(run, split="val")] == [9, 18, 27]
    assert json.loads((run / "summary.json").read_text())["test_readings"] == 2


def test_each_reading_of_the_test_set_is_counted_and_shown(imclass, run) -> None:
    """Over all sessions; a run that is only concluded again has read nothing new."""

    def readings() -> int:
        return json.loads((run / "summary.json").read_text())["test_readings"]

    assert readings() == 1
    assert "times" not in (run / "train.log").read_text()
    (run / "best.safetensors").unlink()
    assert imclass("train", "name=run", *QUICK).code == 0
    assert ((run / "best.safetensors").exists(), readings()) == (True, 1)
    stop = ["train.epochs=3", "train.max_time=0.001s"]
    assert imclass("train", "name=run", *merged(QUICK, stop)).code == 0
    assert readings() == 2
    outcome = imclass("train", "name=run", *merged(QUICK, ["train.epochs=4"]))
    assert (outcome.code, readings()) == (0, 3)
    assert "tested       3 times: choose the length by the validation accuracy" in outcome.out
    by_f1: Any = SimpleNamespace(path=run, config=Config(checkpoint=CheckpointConfig(metric="macro_f1")))
    block = last_block(json.loads((run / "summary.json").read_text()), by_f1)
    assert "tested       3 times: choose the length by the validation macro F1\n" in block
    assert "The test set was read 3 times" in (run / "report.html").read_text()
    assert imclass("verify", "run").code == 0


def test_every_command_that_made_a_run_is_in_its_report(imclass, train) -> None:
    run = train("run", "train.epochs=0.2")
    more = merged(QUICK, ["train.epochs=0.4"])
    for argv in (
        ["name=run", *more],
        ["name=run", *more],
        ["resume=outputs/run", "train.epochs=0.6"],
    ):
        assert imclass("train", *argv).code == 0
    told = json.loads((run / "provenance.json").read_text())
    assert told["data"]["train"] == 144
    commands = [told["command"], *(session["command"] for session in told["resumed"])]
    assert [[word for word in c if "epochs" in word] for c in commands] == [
        ["train.epochs=0.2"],
        ["train.epochs=0.4"],
        ["train.epochs=0.6"],
    ]
    page = (run / "report.html").read_text()
    assert page.index("train.epochs=0.2\n") < page.index("train.epochs=0.4\n") < page.index("resume=outputs")
    assert "In this order: each resumed the run." in page


@pytest.mark.fault("C10")
def test_settings_that_were_edited_in_the_folder_are_refused(imclass, run) -> None:
    file = run / "config.yaml"
    file.write_text(file.read_text().replace("lr: 0.05", "lr: 0.5"))
    before = tree(run)
    outcome = imclass("train", "resume=outputs/run", "train.epochs=3")
    assert outcome.code == 2
    assert outcome.err == (
        "imclass: outputs/run/config.yaml: edited since the training (optimizer.lr: 0.5, not 0.05); "
        "undo that, or choose another name=\n"
    )
    assert tree(run) == before


def test_a_shorter_training_is_refused(imclass, run) -> None:
    outcome = imclass("train", "name=run", *merged(QUICK, ["train.epochs=1"]))
    assert outcome.code == 2
    assert "train.epochs: 2 -> 1" in outcome.err


def test_resume_takes_the_settings_from_the_run(imclass, run) -> None:
    outcome = imclass("train", "resume=outputs/run", "train.epochs=3")
    assert outcome.code == 0, outcome.err
    assert json.loads((run / "summary.json").read_text())["step"] == 27
    refused = imclass("train", "resume=outputs/run", "model=vgg11")
    assert refused.code == 2
    assert "model=" in refused.err


def test_a_run_of_the_time_when_durations_needed_no_unit_is_resumed_and_evaluated(imclass, run) -> None:
    config = (run / "config.yaml").read_text()
    old = config.replace("eval_every: 1ep", "eval_every: 1")
    assert "eval_every: 1\n" in old
    (run / "config.yaml").write_text(old)
    outcome = imclass("train", "resume=outputs/run", "train.epochs=3")
    assert (outcome.code, outcome.err) == (0, "")
    assert [r["step"] for r in records(run, split="val")] == [9, 18, 27]
    assert "eval_every: 1ep\n" in (run / "config.yaml").read_text()
    assert imclass("evaluate", "run").code == 0


def test_resume_never_does_not_touch_a_run(imclass, run) -> None:
    before = tree(run)
    outcome = imclass("train", "name=run", "resume=never", *QUICK)
    assert outcome.code == 2
    assert "resume=never" in outcome.err
    assert tree(run) == before


def test_a_folder_that_is_no_run_is_left_alone(imclass, tmp_path: Path) -> None:
    mine = tmp_path / "outputs" / "photos"
    mine.mkdir(parents=True)
    (mine / "cat.jpg").write_bytes(b"picture")
    outcome = imclass("train", "name=photos", *QUICK)
    assert outcome.code == 2
    assert "not a run folder" in outcome.err
    assert [p.name for p in mine.iterdir()] == ["cat.jpg"]


def test_debris_of_a_kill_while_starting_does_not_block(train, tmp_path: Path) -> None:
    run = tmp_path / "outputs" / "again"
    run.mkdir(parents=True)
    (run / ".tmp-config.yaml").write_text("half")
    assert train("again") == run


def test_a_file_in_place_of_the_run_folder(imclass, tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "taken").write_text("a file")
    outcome = imclass("train", "name=taken", *QUICK)
    assert outcome.code == 2
    assert "not a run folder" in outcome.err


def test_a_broken_stored_configuration_is_named(imclass, run) -> None:
    (run / "config.yaml").write_text("model: [unclosed")
    outcome = imclass("train", "resume=outputs/run")
    assert outcome.code == 2
    assert "config.yaml: cannot be read" in outcome.err


def test_a_configuration_that_is_no_mapping_is_named(imclass, run) -> None:
    (run / "config.yaml").write_text("- 1\n")
    for argv in (["resume=outputs/run"], ["name=run"]):
        outcome = imclass("train", *argv)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert "outputs/run/config.yaml: expected settings as a run writes them" in outcome.err


@pytest.mark.parametrize("content", [None, "", '{"status": "fin', '{"status": "finished"}'])
def test_a_summary_that_is_gone_or_damaged_is_made_again(imclass, run, content: str | None) -> None:
    whole = json.loads((run / "summary.json").read_text())
    (run / "summary.json").unlink() if content is None else (run / "summary.json").write_text(content)
    outcome = imclass("train", "name=run", *QUICK)
    assert outcome.code == 0, outcome.err
    damage = "outputs/run/summary.json: not a valid summary.json ("
    assert (damage in outcome.err) == (content is not None)
    assert ("made again from the checkpoint" in outcome.err) == (content is not None)
    again = json.loads((run / "summary.json").read_text())
    for key in ("status", "step", "best", "val", "test", "test_readings"):
        assert again[key] == whole[key], key


def test_a_damaged_summary_without_checkpoints_is_refused_and_left(imclass, run) -> None:
    """A training from the beginning would replace what is left."""
    shutil.rmtree(run / "checkpoints")
    (run / "summary.json").write_text('{"status": "fin')
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    outcome = imclass("train", "name=run", *QUICK)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "outputs/run/summary.json: not a valid summary.json (not JSON: " in outcome.err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "is gone"),
        ("a: [", "cannot be read as YAML settings"),
        ("", "empty"),
        ("[1]", "expected settings as a run writes"),
    ],
)
def test_a_run_without_its_settings_says_which_file_to_restore(imclass, run, content, expected: str) -> None:
    (run / "config.yaml").unlink() if content is None else (run / "config.yaml").write_text(content)
    for argv in (["train", "name=run"], ["train", "resume=outputs/run"]):
        outcome = imclass(*argv)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
        assert f"outputs/run/config.yaml: {expected}" in outcome.err
        assert "restore it; report.html lists the settings" in outcome.err
        assert (run / "config.yaml").exists() == (content is not None)


def test_a_run_that_was_killed_before_its_first_checkpoint_is_resumed(imclass, run) -> None:
    shutil.rmtree(run / "checkpoints")
    (run / "summary.json").unlink()
    outcome = imclass("train", "resume=outputs/run")
    assert outcome.code == 0, outcome.err
    assert "outputs/run: was stopped before its first checkpoint; it begins again" in outcome.err
    assert [r["step"] for r in records(run, split="val")] == [9, 18]


def test_resume_with_another_name_is_refused(imclass, run) -> None:
    outcome = imclass("train", "resume=outputs/run", "name=other")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "name=other: resume=outputs/run resumes in its own folder" in outcome.err
    assert imclass("train", "resume=outputs/run", "name=run").code == 0


def test_a_run_that_another_job_began_meanwhile_is_left_alone(train) -> None:
    late = open_run(Config(name="run", output_dir="outputs"))
    run = train("run", "train.epochs=0.2")
    before = tree(run)
    with pytest.raises(UserError, match="outputs/run: another job began this run just now"), late.locked():
        late.create()
    assert tree(run) == before


def test_less_time_does_not_reopen_a_finished_run(imclass, train) -> None:
    run = train("timed", "train.max_time=1h")
    before = tree(run)
    more = merged(QUICK, ["name=timed", "train.max_time=1min"])
    assert "finished already" in imclass("train", *more).out
    assert tree(run) == before


@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_without_its_best_model_a_run_says_what_is_left(imclass, run, damage: str) -> None:
    (run / "summary.json").unlink()
    best = run / "checkpoints/best.pt"
    best.unlink() if damage == "gone" else best.write_bytes(best.read_bytes()[:-9])
    outcome = imclass("train", "resume=outputs/run")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert f"checkpoints/best.pt is {damage}" in outcome.err
    command = outcome.err.rpartition("imclass ")[2].split()
    assert command == ["evaluate", "outputs/run", "--weights", "last"]
    assert imclass(*command).code == 0


def test_the_default_name_tells_date_model_and_data(tmp_path: Path) -> None:
    run = open_run(Config(output_dir=str(tmp_path)))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_resnet18_fashion_mnist_mini", run.path.name)
    assert not run.path.exists()


@pytest.mark.fault("R8")
def test_a_new_run_takes_nothing_from_one_of_the_same_second(
    imclass, train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Stopped":
            return cls(2026, 5, 4, 3, 2, 1)

    monkeypatch.setattr(datetime, "datetime", Stopped)
    for seed in (0, 1):
        assert imclass("train", *merged(QUICK, [f"seed={seed}"])).code == 0
    first, second = sorted((tmp_path / "outputs").glob("2026-05-04_03-02-01_*"))
    assert second.name == f"{first.name}-2"
    assert records(second) == records(train("named", "seed=1"))


@pytest.mark.fault("R7")
def test_a_requeued_batch_job_without_a_name_finds_its_folder_again(
    imclass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    assert imclass("train", *QUICK).code == 0
    (run,) = (p for p in (tmp_path / "outputs").iterdir() if p.is_dir())
    assert re.fullmatch(r"slurm4711_lenet_synthetic_[0-9a-f]{8}", run.name)
    before = tree(run)
    outcome = imclass("train", *QUICK)
    assert "finished already" in outcome.out
    assert tree(run) == before
    assert imclass("train", *merged(QUICK, ["seed=1"])).code == 0  # another command of the same job
    monkeypatch.setenv("SLURM_JOB_ID", "4712")
    assert imclass("train", *QUICK).code == 0
    assert len([p for p in (tmp_path / "outputs").iterdir() if p.is_dir()]) == 3


def test_missing_data_leave_no_run_folder(imclass, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    outcome = imclass("train", "dataset=image_folder", "dataset.root=empty")
    assert outcome.code == 2
    assert not (tmp_path / "outputs").exists()


def test_in_a_multirun_one_failure_does_not_end_the_rest(imclass, tmp_path: Path) -> None:
    outcome = imclass("train", *merged(QUICK, ["train.epochs=0.3"]), "-m", "seed=0,1", "augment.cutout=0,20")
    assert outcome.code == 2
    assert "augment.cutout=20: expected at most 15 for images of 16x16" in outcome.err
    runs = [p for p in (tmp_path / "outputs").iterdir() if (p / "summary.json").exists()]
    assert sorted(json.loads((r / "summary.json").read_text())["status"] for r in runs) == ["finished"] * 2


def test_the_module_is_the_same_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "imclass.train", "optimizer.lrr=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("imclass: optimizer.lrr: no such setting; did you mean 'optimizer.lr'")


def test_where_files_cannot_be_locked_training_goes_on_and_says_so(
    imclass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a Lustre that is mounted without flock."""

    def no_flock(*args: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", no_flock)
    outcome = imclass("train", "name=unlocked", *merged(QUICK, ["train.epochs=1"]))
    assert outcome.code == 0
    assert "cannot be locked here; do not start a second job in it" in outcome.err
    run = tmp_path / "outputs/unlocked"
    with pytest.raises(NoLocksError, match="has no locks"), locked(run / "file"):
        pass
    with locked(run / "file", required=False):
        pass


def test_several_may_write_one_file_at_a_time(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for _ in range(200):
            write_atomically(tmp_path / "file", str(number))

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(4)))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.fault("C4", "C7")
def test_only_names_that_imclass_writes_are_swept(run, train) -> None:
    for folder in (run, run / "checkpoints", run / "plots"):
        (folder / ".tmp-01234567-last.pt").write_text("half")
        (folder / ".tmp-mine").write_text("mine")
        (folder / ".tmp-01234567-mine").mkdir()
    train("run", "train.epochs=3")
    for folder in (run, run / "checkpoints", run / "plots"):
        names = {path.name for path in folder.iterdir() if path.name.startswith(".")}
        assert names == {".tmp-mine", ".tmp-01234567-mine"}


@pytest.mark.fault("C7")
@pytest.mark.parametrize("name", ["checkpoints", "plots", "tensorboard", "evaluations", "evaluations/val"])
def test_a_link_in_the_place_of_a_folder_leads_no_write_outside(imclass, run: Path, name: str) -> None:
    victim, folder = run.parent / "victim", run / name
    folder.mkdir(parents=True, exist_ok=True)
    folder.rename(victim)
    (victim / ".tmp-01234567-last.pt").write_text("another's")
    folder.symlink_to(victim)
    before = tree(victim)
    commands = (["train", "resume=outputs/run", "train.epochs=3"], ["evaluate", "run", "--split=val"])
    for argv in (*commands, ["report", "run"]):
        outcome = imclass(*argv)
        expected = f"imclass: outputs/run/{name}: a link; a run folder holds its own folders\n"
        assert (outcome.code, outcome.err) == (2, expected)
    assert tree(victim) == before


def test_a_finished_run_names_what_makes_it_longer(train, imclass) -> None:
    train("short", "train.steps=4")
    again = imclass("train", "name=short", *merged(QUICK, ["train.steps=4"]))
    assert "finished already; train.steps=8 continues it" in again.out
    other = imclass("train", "resume=outputs/short", "train.epochs=8")
    assert other.code == 2
    assert "(train.epochs: 2 -> 8); a run can only be made longer, by train.steps=; " in other.err


def test_a_setting_that_is_newer_than_the_run_has_its_default_there(imclass, run: Path) -> None:
    settings = OmegaConf.load(run / "config.yaml")
    del settings.train["class_weights"], settings.logger["wandb"]
    OmegaConf.save(settings, run / "config.yaml")
    typed = ("train", "name=run", *merged(QUICK, ["logger.plots=true"]))
    before = (run / "config.yaml").read_bytes()
    assert imclass(*typed).code == 0
    outcome = imclass(*typed, "train.class_weights=auto")
    assert outcome.code == 2
    assert "has other settings (train.class_weights: null -> auto)" in outcome.err
    assert (run / "config.yaml").read_bytes() == before
