"""Hydra's multirun: each job has a folder of its own, and the same command resumes all of them."""

import importlib.util
import tempfile
from pathlib import Path

import pytest
from conftest import QUICK, merged

from imclass.config.app import record_folder
from imclass.config.overrides import quoted
from imclass.config.stored import read_settings

SHORT = merged(QUICK, ["train.epochs=0.3", "logger.tensorboard=false"])


def test_named_jobs_have_folders_that_the_same_command_finds(imclass, tmp_path: Path) -> None:
    argv = (
        "train",
        "-m",
        "name=four",
        "optimizer.lr=0.1,0.01",
        "seed=0,1",
        *(o for o in SHORT if "lr" not in o),
    )
    outcome = imclass(*argv)
    assert outcome.code == 0, outcome.err
    folders = ["lr-0.01_seed-0", "lr-0.01_seed-1", "lr-0.1_seed-0", "lr-0.1_seed-1"]
    assert sorted(p.name for p in (tmp_path / "outputs/four").iterdir()) == folders
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("summary.json")}
    again = imclass(*argv)
    assert again.code == 0, again.err
    assert again.out.count("finished already") == 4
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("summary.json")} == before
    report = imclass("report", "four")
    assert report.code == 0
    assert "±" in report.out


def test_jobs_that_fail_leave_the_comparison_of_the_others(imclass, tmp_path: Path) -> None:
    argv = ("train", "-m", "name=some", "seed=0,1", *merged(SHORT, ["optimizer.lr=0.05,1e30"]))
    outcome = imclass(*argv)
    assert outcome.code == 3
    assert outcome.err.count("training diverged: ") == 2
    *_, title, figures, more = outcome.out.splitlines()
    assert "; best validation " in title
    assert "±" in figures and figures.endswith("  seed-0_lr-0.05, seed-1_lr-0.05")
    assert more == "more: imclass report outputs/some"  # the folder that has those that diverged, too
    report = imclass("report", "some")
    assert report.code == 0 and "\n2 runs did not finish\n" in report.out
    unnamed = imclass("train", "-m", "seed=0,1", *SHORT).out.splitlines()
    assert unnamed[-1].startswith("more: imclass report outputs/2")  # by their dates, not all that is beside
    assert unnamed[-1].count("outputs/") == 2
    one = imclass("train", "-m", "name=some", "seed=0", *merged(SHORT, ["optimizer.lr=0.05,1e30"]))
    assert one.code == 3 and "more:" not in one.out  # nothing to compare it with


def test_a_finished_run_with_damaged_records_is_left_out_of_the_comparison(imclass, tmp_path: Path) -> None:
    argv = ("train", "-m", "name=damaged", "seed=0,1", *SHORT)
    assert imclass(*argv).code == 0
    for seed in (0, 1):
        (tmp_path / f"outputs/damaged/seed-{seed}/provenance.json").write_text("{")
        again = imclass(*argv)
        assert (again.code, again.err.count("\n")) == (0, 1 + seed), again.err
        assert "warning: left out: outputs/damaged/seed-0/provenance.json: not a valid" in again.err
        assert ("more: imclass report outputs/damaged\n" in again.out) is (seed == 0)
        assert again.out.count("  seed-1\n") == 1 - seed


def test_values_that_look_alike_in_a_name_stay_apart(imclass, tmp_path: Path) -> None:
    argv = ("train", "-m", "name=two", "dataset.mean=[0.5],[0.6]", "dataset.std=[0.5]", *SHORT)
    outcome = imclass(*argv)
    assert outcome.code == 0, outcome.err
    assert len(list((tmp_path / "outputs/two").iterdir())) == 2


@pytest.mark.parametrize(
    ("swept", "expected"),
    [
        (["optimizer.lr=0.1,-1"], "optimizer.lr=-1: expected a number above 0"),
        (["optimizer.lr=0.1,x"], "optimizer.lr=x: expected a number"),
        (["model=lenet,lenett"], "model=lenett: no such model"),
        (["train.batch_size=8,9000"], "train.batch_size=9000: larger than the training split"),
        (["optimizer=sgd,adam", "optimizer.nesterov=true"], "no effect with optimizer=adam"),
    ],
)
def test_faulty_values_are_found_before_the_first_job(
    imclass, tmp_path: Path, swept: list[str], expected: str
) -> None:
    outcome = imclass("train", "-m", *merged(SHORT, swept))
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert expected in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_job_with_a_bug_does_not_end_the_rest(
    imclass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imclass.training.build import build_job as build

    def broken(run, *more):
        if run.config.seed == 0:
            raise RuntimeError("the sky is falling")
        return build(run, *more)

    monkeypatch.setattr("imclass.training.build.build_job", broken)
    outcome = imclass("train", "-m", "name=n", "seed=0,1", *SHORT)
    assert outcome.code == 1
    assert "imclass: a job failed: RuntimeError: the sky is falling" in outcome.err
    assert (tmp_path / "outputs/n/seed-1/summary.json").exists()


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["experiment=nothing.yaml"], "experiment=nothing.yaml: no such file\n"),
        (["experiment=faulty.yml"], "experiment=faulty.yml: no such file; did you mean 'faulty.yaml'?\n"),
        (["experiment=none/faulty.yml"], "experiment=none/faulty.yml: no such file\n"),
        (["experiment=./sub/faulty.yml"], "sub/faulty.yml: no such file; did you mean 'sub/faulty.yaml'?\n"),
        (["experiment=faulty.yaml"], "optimizer.lr=-1: expected a number above 0"),
    ],
)
def test_an_experiment_from_a_file_is_checked(
    imclass, tmp_path: Path, argv: list[str], expected: str
) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("faulty.yaml", "sub/faulty.yaml"):
        (tmp_path / name).write_text("# @package _global_\noptimizer:\n  lr: -1\n")
    outcome = imclass("check", *argv)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert expected in outcome.err


def test_an_experiment_from_a_file_builds_on_shipped_groups(imclass, tmp_path: Path) -> None:
    (tmp_path / "my own.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /model: lenet\noptimizer:\n  lr: 0.5\n"
    )
    outcome = imclass("train", "--cfg", "job", "experiment='my own.yaml'")
    assert outcome.code == 0, outcome.err
    assert "name: lenet" in outcome.out
    assert "lr: 0.5" in outcome.out


def test_experiments_from_files_can_be_swept(imclass, tmp_path: Path) -> None:
    (tmp_path / "more (1), x").mkdir()
    for place, rate in (("a.yaml", 0.25), ("b.yaml", 0.5), ("more (1), x/a.yaml", 0.125)):
        (tmp_path / place).write_text(f"# @package _global_\noptimizer:\n  lr: {rate}\n")
    files = "experiment=a.yaml,b.yaml,'more (1), x/a.yaml'"
    base = [word for word in SHORT if not word.startswith("optimizer.lr=")]
    outcome = imclass("train", "-m", "name=files", files, *base)
    assert outcome.code == 0, outcome.err
    rates = {read_settings(run)["optimizer"]["lr"] for run in (tmp_path / "outputs/files").iterdir()}
    assert rates == {0.25, 0.5, 0.125}


@pytest.mark.parametrize("folder", ["my (dir), x", r"a\b c", "it's", "tail\\"])
def test_folders_may_have_any_name(
    imclass, tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of temporary files, --config-dir and the experiment's."""
    place = tmp_path / folder
    (place / "model").mkdir(parents=True)
    (place / "model/mine.yaml").write_text("defaults: [lenet]\n")
    (place / "e.yaml").write_text("# @package _global_\ndefaults:\n  - override /model: lenet\n")
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    assert quoted(place / "e.yaml") != str(place / "e.yaml")
    own = ["model=mine", "--config-dir", str(place)]
    for argv in (own, [f"experiment={quoted(place / 'e.yaml')}"], ["-m", "seed=0,1"]):
        outcome = imclass("check", *argv)
        assert (outcome.code, outcome.err) == (0, ""), outcome.err


def test_what_submitted_jobs_read_stays_where_they_see_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with record_folder(["hydra/launcher=slurm"]) as first:
        assert first.parent == tmp_path / "outputs/.submitit"
    with record_folder(["seed=0,1", "hydra/launcher=slurm"]) as second:
        assert second != first
    assert first.exists()
    for overrides in (["hydra/launcher=basic"], []):
        with record_folder(overrides) as scratch:
            assert tmp_path not in scratch.parents
        assert not scratch.exists()


def test_what_submits_jobs_may_be_missing(imclass, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "submitit" else found(name))
    outcome = imclass("train", "-m", "hydra/launcher=slurm", "seed=0,1", *QUICK)
    assert outcome.code == 2
    needs = "imclass: hydra/launcher=slurm needs hydra-submitit-launcher: pip install 'imclass[slurm]'\n"
    assert outcome.err == needs
