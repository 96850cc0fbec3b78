"""imclass sweep as it is typed: mistakes, help, what comes out, and real trainings from end to end."""

import csv
import json
import shlex
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
import stub_trial
from conftest import QUICK, Outcome
from test_cli import run_python
from test_folding import Terminal
from test_report import Page

from imclass.config.check import flatten
from imclass.config.compose import compose_config
from imclass.config.groups import group_choices
from imclass.config.overrides import quoted
from imclass.config.schema import values_of
from imclass.config.stored import read_settings
from imclass.sweeps import workers
from imclass.sweeps.best import write_best
from imclass.sweeps.study import build_sampler
from imclass.sweeps.workers import divide, find_gpus

RATE = "optimizer.lr=tag(log,interval(1e-3,1))"


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "trial_command", stub_trial.command(workers.trial_command))
    monkeypatch.setattr("imclass.sweeps.queue._POLL_SECONDS", 0.02)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["sweep=lrr"], "sweep=lrr: no such choice among"),
        (["sweep=lr", "sweep.trails=3"], "sweep.trails: no such setting; did you mean 'sweep.trials'"),
        (["sweep=lr", "sweep.trials=0"], "sweep.trials=0: expected a whole number of at least 1"),
        (["sweep=lr", "sweep.sampler=tpr"], "did you mean 'tpe'?"),
        (["sweep=lr", "sweep.metric=accuracy"], "expected one of val.accuracy, val.loss"),
        (["sweep=lr", "name=mine"], "name: each trial has its own; sweep.name= names the sweep"),
        (
            ["sweep=lr", "resume=never"],
            "to resume the sweep, repeat its command",
        ),
        (["sweep=lr", "hydra.verbose=true"], "hydra.verbose: not for a sweep"),
        (["sweep=lr", "hydra/launcher=slurm"], "hydra/launcher: not for a sweep"),
        (["sweep=lr", "hydra.job.name=a,b"], "hydra.job.name: cannot be searched"),
        (["sweep=lr", "~checkpoint.every"], "~checkpoint.every: not in a sweep"),
        (["sweep=lr", "+seed=3"], "+seed=3: not in a sweep, where all settings exist; write key=value"),
        (["sweep=lr", "++seed=3,4"], "++seed=3,4: not in a sweep"),
        (["sweep=lr", "sweep.space=3"], "sweep.space: type its entries as overrides"),
        (["sweep=lr", "sweep.sampler=grid"], "optimizer.lr is an interval; use choice() or range()"),
        (["sweep=lr", "optimizer.lrr=3"], "optimizer.lrr: no such setting"),
        (["sweep=lr", "model=resnet19"], "did you mean 'resnet18'"),
        (["sweep=lr", "seed=1", "seed=2"], "seed: given twice; keep one"),
        (["sweep=lr", "--cfg=hydra"], "--cfg hydra: expected --cfg job"),
        (["sweep=lr", "--cfg", "all"], "--cfg all: expected --cfg job"),
        (["sweep=lr", "-c=hydra"], "--cfg hydra: expected --cfg job"),
        (["sweep=lr", "--cfg"], "--cfg: needs a value after it"),
        (["sweep=lr", "-m"], "-m: not an option of imclass sweep"),
        (["sweep=lr", "sweep.name=../x"], "sweep.name=../x: expected 1 to 100 letters"),
        (
            ["sweep.name=a", "optimizer=sgd,adam", "optimizer.nesterov=true"],
            "has no effect with optimizer=adam",
        ),
        (["sweep.name=a", "seed=1,2", "sweep.seeds=2"], "the seed is searched already"),
        (["sweep.name=a", "sweep.sampler=cmaes", RATE], "needs two interval() or range()"),
        (["sweep.name=a", "seed=0"], "nothing to search"),
        ([RATE], "imclass list sweeps"),
    ],
)
def test_mistakes_are_one_line_and_start_nothing(
    imclass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], expected: str
) -> None:
    monkeypatch.setattr("imclass.sweeps.run.run_sweep", lambda *args: pytest.fail("a mistake passed"))
    outcome = imclass("sweep", *argv)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert expected in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback_of_a_mistake(imclass) -> None:
    assert imclass("check", "sweep=lr", "debug=true").code == 0
    outcome = imclass("sweep", "sweep=lr", "debug=true", "seed=-1")
    assert outcome.code == 2
    assert "Traceback" in outcome.err
    assert "\nimclass: seed=-1: expected a whole number" in outcome.err


def test_all_mistakes_are_reported_at_once(imclass) -> None:
    outcome = imclass("sweep", "sweep=lr", "sweep.trials=x", "optimizer.lr=0,1", "seed=-1", "model=lenett")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 4


def test_answers_do_not_import_torch() -> None:
    argv = ["sweep", "sweep=lr", "sweep.trials=x"]
    code = f"import sys; from imclass.cli import main; main({argv}); print('torch' in sys.modules)"
    assert run_python(code).splitlines()[-1] == "False"
    code = "import sys, imclass.commands.sweep, imclass.sweeps.run; print('torch' in sys.modules)"
    assert run_python(code) == "False"


def test_without_optuna_the_message_says_how_to_install_it(imclass, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    outcome = imclass("sweep", "sweep=lr")
    assert (outcome.code, outcome.err) == (
        2,
        "imclass: imclass sweep needs optuna and cmaes: pip install 'imclass[sweep]'\n",
    )


def test_help_names_every_setting(imclass) -> None:
    outcome = imclass("sweep", "--help")
    assert outcome.code == 0
    for text in ("sweep.trials=null", "sweep.sampler=tpe", "interval(from,to)", "--config-dir"):
        assert text in outcome.out


def test_cfg_shows_what_would_run(imclass, tmp_path: Path) -> None:
    outcome = imclass("sweep", "sweep=lr", "model=lenet", "--cfg", "job")
    assert outcome.code == 0
    assert "optimizer.lr: tag(log" in outcome.out
    assert "name: lenet" in outcome.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argv", [["--cfg=job"], ["-c", "job"], ["-c=job"]])
def test_cfg_has_several_forms(imclass, tmp_path: Path, argv: list[str]) -> None:
    outcome = imclass("sweep", "sweep=lr", *argv)
    assert "optimizer.lr: tag(log" in outcome.out
    assert list(tmp_path.iterdir()) == []


def test_check_says_what_the_sweep_would_say_of_a_folder_that_exists(imclass, stubs) -> None:
    assert imclass("sweep", "sweep.name=a", RATE, "sweep.trials=1").code == 0
    assert "continues outputs/sweeps/a" in imclass("check", "sweep.name=a", RATE).out
    for argv in (["seed=3"], ["sweep.sampler=random"]):
        outcome = imclass("check", "sweep.name=a", RATE, *argv)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
        assert "this sweep has other settings" in outcome.err
        assert outcome.err == imclass("sweep", "sweep.name=a", RATE, *argv).err
    Path("outputs/sweeps/b").mkdir()
    Path("outputs/sweeps/b/mine.txt").touch()
    assert "is not a sweep of imclass" in imclass("check", "sweep.name=b", RATE).err


UNDER_TORCHRUN = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (UNDER_TORCHRUN, "imclass sweep runs in one process, not under torchrun"),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, "sweep.workers=4: too many for 2 GPUs with sweep.per_gpu=1; "),
    ],
)
def test_what_the_machine_does_not_allow_is_one_line(
    imclass, stubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    for command in ("sweep", "check"):
        outcome = imclass(command, "sweep=lr", "sweep.workers=4")
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
        assert expected in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_on_windows_it_is_said(imclass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imclass.sweeps.run.sys.platform", "win32")
    for command in ("sweep", "check"):
        assert imclass(command, "sweep=lr")[::2] == (2, "imclass: sweeps need Linux or macOS\n")
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_of_the_users_own(imclass, tmp_path: Path) -> None:
    (tmp_path / "mine/sweep").mkdir(parents=True)
    (tmp_path / "mine/sweep/wide.yaml").write_text(
        "space: {optimizer.lr: '0.1,1'}\noverrides: [model=lenet]\n"
    )
    outcome = imclass("check", "sweep=wide", "--config-dir", "mine")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "ok: 20 trials over optimizer.lr, into outputs/sweeps/wide\n"
    (tmp_path / "mine/sweep/wide.yaml").write_text("space: [1]\n")
    assert "with a mapping under space:" in imclass("check", "sweep=wide", "--config-dir", "mine").err


@pytest.mark.parametrize("choice", group_choices("sweep"))
def test_every_shipped_sweep_is_sound_and_listed(imclass, choice: str) -> None:
    outcome = imclass("check", f"sweep={choice}")
    assert (outcome.code, outcome.err) == (0, "")
    line = next(line for line in imclass("list", "sweeps").out.splitlines() if line.startswith(choice))
    assert len(line.split()) > 4


def test_a_grid_runs_every_point_once(imclass, stubs) -> None:
    argv = ("sweep.name=g", "sweep.sampler=grid", "optimizer.lr=1,0.1,0.01", "augment.crop=range(0,4,2)")
    assert imclass("sweep", *argv, "sweep.trials=4").code == 0
    assert imclass("sweep", *argv).code == 0
    rows = list(csv.DictReader(Path("outputs/sweeps/g/sweep.csv").read_text().splitlines()))
    points = [
        (row["optimizer.lr"], row["augment.crop"]) for row in sorted(rows, key=lambda r: int(r["trial"]))
    ]
    assert points == [(rate, crop) for rate in ("1", "0.1", "0.01") for crop in ("0", "2")]


@pytest.mark.parametrize("sampler", [pytest.param("cmaes", marks=pytest.mark.soak), "tpe"])
def test_samplers_continue_from_what_was_found(imclass, stubs, sampler: str) -> None:
    argv = ("sweep.name=c", f"sweep.sampler={sampler}", RATE, "optimizer.momentum=interval(0.5,0.9)")
    argv = (*argv, "augment.crop=0,4", "sweep.workers=2", "sweep.pruner=none")
    assert imclass("sweep", *argv, "sweep.trials=8").code == 0
    outcome = imclass("sweep", *argv, "sweep.trials=16")
    assert outcome.code == 0, outcome.err
    assert ("numbers only and draws augment.crop at random" in outcome.out) == (sampler == "cmaes")
    rows = list(csv.DictReader(Path("outputs/sweeps/c/sweep.csv").read_text().splitlines()))
    assert len({row["optimizer.lr"] for row in rows}) == 16
    page = Page(Path("outputs/sweeps/c/sweep.html"))
    assert page.links == []
    assert page.pictures == 4  # history, importance, slices, curves
    for text in ("PED-ANOVA", "best val.accuracy", "imclass train optimizer.lr=", "augment.crop 0,4"):
        assert text in page.text, text


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_samplers_draw_nearer_to_what_was_good(sampler: str) -> None:
    space = {key: optuna.distributions.FloatDistribution(0.0, 1.0) for key in ("a", "b")}

    def distance(values: dict[str, float]) -> float:
        return abs(values["a"] - 0.3) + abs(values["b"] - 0.6)

    study = optuna.create_study(direction="minimize")
    for number in range(120):
        study.sampler = build_sampler("random" if number < 20 else sampler, 0, number)
        trial = study.ask(space)
        study.tell(trial, distance(trial.params))
    first, last = study.trials[:20], study.trials[-20:]
    assert statistics.median(t.value for t in last) < 0.5 * statistics.median(t.value for t in first)


def test_a_report_is_written_again(imclass, stubs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert imclass("sweep", "sweep.name=r", RATE, "sweep.trials=3").code == 0
    folder = Path("outputs/sweeps/r")
    for name in ("sweep.html", "sweep.csv", "best.yaml"):
        (folder / name).unlink()
    for named in ("r", "sweeps/r", "outputs/sweeps/r"):
        outcome = imclass("report", named)
        assert outcome.code == 0, outcome.err
    assert "complete" in outcome.out
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    imclass("report", "r")
    lines = terminal.getvalue().splitlines()
    assert lines[:2] == ["trial  state     val.accuracy  test     seconds", "    lr"]
    assert max(map(len, lines)) <= 50


def test_a_run_comes_before_a_sweep_of_the_same_name(imclass, stubs, run) -> None:
    assert imclass("sweep", "sweep.name=run", RATE, "sweep.trials=1").code == 0
    assert imclass("report", "run").out == "outputs/run/report.html\n"
    assert "outputs/sweeps/run/sweep.html" in imclass("report", "sweeps/run").out


def test_a_report_needs_neither_the_data_nor_every_settings_file(imclass, stubs, tmp_path: Path) -> None:
    (tmp_path / "my (pics), x").mkdir()
    argv = ("dataset=image_folder", "dataset.root='my (pics), x'", "output_dir='o (1), y'")
    assert imclass("sweep", "sweep.name=r", RATE, "sweep.trials=2", *argv).code == 0
    folder = Path("o (1), y/sweeps/r")
    best = (folder / "best.yaml").read_text()
    assert shlex.join(["imclass", "train", "experiment='o (1), y/sweeps/r/best.yaml'"]) in best
    assert "root: my (pics), x" in best
    assert "no such file" not in imclass("check", f"experiment={quoted(folder / 'best.yaml')}").err
    (tmp_path / "my (pics), x").rmdir()  # on another machine
    (folder / "best.yaml").unlink()
    assert imclass("report", str(folder)).code == 0
    assert (folder / "best.yaml").read_text() == best
    for file in folder.glob("trial_*/config.yaml"):
        settings = json.loads(file.read_text())
        file.write_text(json.dumps({**settings, "of_another_version": 1}))
    assert imclass("report", str(folder)).code == 0
    assert "of_another_version: 1" in (folder / "best.yaml").read_text()
    for file in folder.glob("trial_*/config.yaml"):
        file.unlink()
    (folder / "sweep.html").unlink()
    outcome = imclass("report", str(folder))
    assert (outcome.code, outcome.err.count("\n")) == (0, 1), outcome.err
    assert "best.yaml: cannot be written: o (1), y/sweeps/r/trial_000" in outcome.err
    assert (folder / "sweep.html").exists()
    assert all((folder / name).exists() for name in ("sweep.html", "sweep.csv", "best.yaml"))


def test_one_evaluation_cannot_be_pruned_and_it_says_so(imclass, stubs) -> None:
    outcome = imclass("sweep", "sweep.name=r", RATE, "sweep.trials=1", "train.epochs=1")
    assert "nothing will be pruned: a trial has one evaluation" in outcome.out


def test_a_folder_that_is_no_sweep_is_left_alone(imclass, tmp_path: Path) -> None:
    (tmp_path / "outputs/sweeps/a").mkdir(parents=True)
    (tmp_path / "outputs/sweeps/a/mine.txt").touch()
    outcome = imclass("sweep", "sweep.name=a", RATE)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "exists and is not a sweep of imclass" in outcome.err


@pytest.mark.parametrize(
    ("workers", "per_gpu", "gpus", "cores", "expected"),
    [
        (None, 1, [], range(4), [((0, 1, 2, 3), None)]),
        (2, 1, [], range(4), [((0, 1), None), ((2, 3), None)]),
        (3, 1, [], range(2), [((0,), None), ((1,), None), ((0,), None)]),
        (None, 1, ["0", "1"], range(4), [((0, 1), "0"), ((2, 3), "1")]),
        (None, 2, ["7"], range(4), [((0, 1), "7"), ((2, 3), "7")]),
        (3, 2, ["0", "1"], [], [((), "0"), ((), "1"), ((), "0")]),
    ],
)
def test_cores_and_gpus_are_divided(workers, per_gpu, gpus, cores, expected) -> None:
    found = divide(workers, per_gpu, gpus, list(cores))
    assert [(worker.cores, worker.gpu) for worker in found] == expected


def test_gpus_are_those_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert find_gpus("auto") == ["2", "3"]
    assert find_gpus("cpu") == find_gpus("cuda:1") == []
    for none in ("", "-1", "-1,0", "NoDevFiles", "none"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert find_gpus("cuda") == []


def test_real_trainings_from_end_to_end(imclass: Callable[..., Outcome], train, tmp_path: Path) -> None:
    quick = [word for word in QUICK if not word.startswith("optimizer.lr=")]
    argv = ["sweep.name=real", "sweep.trials=2", "sweep.workers=2", "optimizer=sgd,adam", RATE, *quick]
    outcome = imclass("sweep", *argv, "logger.tensorboard=false", "sweep.pruner=none")
    assert outcome.code == 0, outcome.err + outcome.out
    folder = tmp_path / "outputs/sweeps/real"
    rows = list(csv.DictReader((folder / "sweep.csv").read_text().splitlines()))
    assert [row["state"] for row in rows] == ["complete"] * 2
    best = folder / f"trial_{int(rows[0]['trial']):04d}"
    summary = json.loads((best / "summary.json").read_text())
    assert float(rows[0]["val_accuracy"]) == summary["best"]["accuracy"]
    assert "test" in (folder / "logs/trial_0000.log").read_text()
    # best.yaml says all that the trial was
    again = imclass("train", "experiment=outputs/sweeps/real/best.yaml", "name=again", "device.threads=1")
    assert again.code == 0, again.err
    first, second = (flatten(read_settings(run)) for run in (best, tmp_path / "outputs/again"))
    differing = {key for key in first if first[key] != second[key]}
    assert differing <= {"name", "output_dir", "logger.tensorboard", "logger.plots"}
    repeated = json.loads((tmp_path / "outputs/again/summary.json").read_text())
    assert repeated["best"] == summary["best"]
    command = json.loads((tmp_path / "outputs/again/provenance.json").read_text())["command"]
    assert "experiment=outputs/sweeps/real/best.yaml" in command


def test_the_best_of_trials_with_a_budget_is_measured_anew(imclass, tmp_path: Path) -> None:
    trial = SimpleNamespace(
        settings_of_run=values_of(compose_config(["optimizer.lr=0.07", "train.budget=1min"], []))
        | {"train.steps": 77},
        folder="trial_000", number=0, value=0.5, repeats=[],
    )  # fmt: skip
    results = SimpleNamespace(
        folder=tmp_path, rows=[trial], stored={"metric": "val.accuracy", "name": "s"}, show=str, count=len
    )
    write_best(results, trial, tmp_path / "best.yaml")
    config = compose_config([f"experiment={tmp_path / 'best.yaml'}"], [])
    assert (config.optimizer.lr, config.train.budget, config.train.steps) == (0.07, "1min", None)
