"""train.budget: as many steps as the time allows, measured once; then the run is one of so many steps."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from conftest import QUICK, merged
from torch import nn

from imclass.config.budget import with_steps
from imclass.config.compose import compose_config
from imclass.config.plan import Plan
from imclass.runs.same_run import differences
from imclass.training.pace import Pace, _seconds_of_evaluation
from imclass.training.trainer import Trainer

PACE = Pace({None: 0.05}, evaluation=0.1)  # with nine steps between evaluations, 16 steps take 1 s
BUDGET = "train.budget=1.02s"


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(setup: object, seconds: float) -> Pace:
        assert seconds == 1.02 / 100  # the probe takes little of the budget
        return PACE

    monkeypatch.setattr("imclass.training.budget.measure_pace", measured)


def fail(*_: object) -> None:
    raise AssertionError("measured again")


def interrupted_in(step: Callable[[Trainer], None], number: int) -> Callable[[Trainer], None]:
    def take(trainer: Trainer) -> None:
        if trainer.progress.step == number:
            signal.raise_signal(signal.SIGTERM)
        step(trainer)

    return take


def steps_of(run: Path) -> int:
    return yaml.safe_load((run / "config.yaml").read_text())["train"]["steps"]


def test_the_time_of_a_plan_is_that_of_its_steps_and_evaluations() -> None:
    words = ["train.eval_every=10st", "train.resolutions=[20:50%]"]
    plan = Plan.of(with_steps(compose_config(words, []), 40), steps_per_epoch=100)
    assert Pace({20: 0.25, None: 1.0}, evaluation=3.0).seconds(plan) == 20 * 0.25 + 20 * 1.0 + 4 * 3.0
    assert Pace({20: 0, None: 0}, evaluation=3.0, features=7.0).seconds(plan) == 7 + 4 * 3.0


@pytest.mark.usefixtures("paced")
def test_the_run_has_the_steps_that_fit_and_repeats(train, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train("budget", BUDGET, "train.epochs=3")
    assert steps_of(run) == json.loads((run / "summary.json").read_text())["step"] == 16
    log = (run / "train.log").read_text()
    assert "budget   1 s: 16 steps of 0.05 s, 2 evaluations of 0.1 s" in log
    assert "train.epochs=3 has no effect with train.budget=1.02s" in log
    monkeypatch.setattr("imclass.training.budget.measure_pace", fail)
    before = (run / "summary.json").read_bytes()
    train("budget", BUDGET, "train.epochs=3")
    assert (run / "summary.json").read_bytes() == before


def test_the_probe_leaves_no_trace(train, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is bit for bit the one of as many steps; it is measured for real here."""
    monkeypatch.setattr("imclass.training.budget.steps_within", lambda *_: 16)
    want = train("steps", "train.steps=16")
    got = train("budget", BUDGET)
    assert differences(got, want) == []


def test_an_interrupted_run_is_not_measured_again(train, monkeypatch: pytest.MonkeyPatch) -> None:
    want = train("steps", "train.steps=16")
    with monkeypatch.context() as patch:
        patch.setattr("imclass.training.budget.measure_pace", lambda *_: PACE)
        patch.setattr(Trainer, "train_step", interrupted_in(Trainer.train_step, 7))
        train("budget", BUDGET, code=75)
    monkeypatch.setattr("imclass.training.budget.measure_pace", fail)
    got = train("budget", BUDGET)
    assert differences(got, want) == []


@pytest.mark.usefixtures("paced")
def test_a_larger_budget_trains_longer_and_a_smaller_one_is_refused(train, imclass) -> None:
    run = train("budget", BUDGET)
    train("budget", "train.budget=2.04s")
    assert (steps_of(run), json.loads((run / "summary.json").read_text())["step"]) == (32, 32)
    outcome = imclass("train", f"resume={run}", "train.budget=1s")
    assert outcome.code == 2
    assert "train.budget: 2.04s -> 1s" in outcome.err
    outcome = imclass("train", f"resume={run}", "train.steps=36")
    assert outcome.code == 0, outcome.err
    assert steps_of(run) == 36


def test_in_a_sweep_trials_have_no_known_length(imclass) -> None:
    outcome = imclass("check", "sweep.name=s", "optimizer.lr=0.1,0.2", BUDGET)
    assert (outcome.code, outcome.err) == (0, "")


def test_times_are_checked_against_the_measured_length(train, imclass, monkeypatch) -> None:
    pace = Pace({None: 0.05, 12: 0.05}, evaluation=0.1)
    monkeypatch.setattr("imclass.training.budget.measure_pace", lambda *_: pace)
    run = train("fits", BUDGET, "train.epochs=1", "train.resolutions=[12:1.5ep]")
    assert steps_of(run) == 16  # 9 in an epoch
    late = merged(QUICK, [BUDGET, "scheduler.warmup=2ep", "train.resolutions=[12:2ep]"])
    outcome = imclass("train", "name=late", *late)
    assert outcome.code == 2
    assert "scheduler.warmup=2ep: longer than training (16 steps)" in outcome.err
    assert "train.resolutions=[12:2ep]: expected rising times within training (16 steps)" in outcome.err
    assert not run.with_name("late").exists()


def test_a_rank_without_validation_images_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Empty(list[tuple[torch.Tensor, torch.Tensor]]):
        processes = SimpleNamespace(size=2)

    monkeypatch.setattr("imclass.training.pace.logits_of", lambda model, images, device: images)
    clock = iter([3.0, 5.0])
    monkeypatch.setattr("imclass.training.pace._now", lambda device: next(clock))
    learner = SimpleNamespace(model=nn.Identity(), trained=None)
    device = SimpleNamespace(device=torch.device("cpu"))
    setup: Any = SimpleNamespace(
        learner=learner, val=Empty([(torch.empty(0, 1), torch.empty(0))]), device=device
    )
    assert _seconds_of_evaluation(setup) == 1.0  # its half of two seconds
