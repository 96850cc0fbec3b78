"""imclass plan: what a training would do and take; nothing is trained, and no run is left."""

import re
from pathlib import Path

import pytest
from conftest import QUICK, merged

from imclass.commands.drawn_file import new_file
from imclass.config.compose import compose_config
from imclass.config.schema import Config, ModelConfig
from imclass.training.forecast import LOGS, disk_bytes, forecast


@pytest.fixture(autouse=True)
def _short_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imclass.training.pace.STEPS", 3)


def test_it_prints_and_draws_what_a_training_would_do(imclass, tmp_path: Path) -> None:
    words = merged(QUICK, ["train.resolutions=[14:50%]"])
    outcome = imclass("plan", "name=mine", *words)
    assert (outcome.code, outcome.err) == (0, "")
    assert "training 18 steps of 16 images (2 epochs), sgd lr 0.05, cosine" in outcome.out
    assert "evaluate 2 times, every 9 steps, on 16 images" in outcome.out
    assert re.search(r"time     about \d+ s: steps of .* s, .* s at 14 pixels, evaluations of", outcome.out)
    assert f"next     imclass train name=mine {' '.join(words)[:40]}" in outcome.out.replace("'", "")
    (page,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert page.parent == tmp_path / "outputs/plans"
    assert page.read_text().count("data:image/png;base64,") == 3
    assert "steps of 16 images" in page.read_text()
    assert "<h2>" not in page.read_text()  # the plots have titles


def test_a_budget_is_measured_here_too(imclass) -> None:
    outcome = imclass("plan", *merged(QUICK, ["train.budget=10s", "train.epochs=3"]))
    assert (outcome.code, outcome.err) == (0, "")
    assert "warning: train.epochs=3 has no effect with train.budget=10s\n" in outcome.out
    assert "budget   10 s: " in outcome.out


def test_rates_evaluations_and_disk() -> None:
    words = ["train.eval_every=8st", "scheduler=linear", "scheduler.warmup=5st", "train.ema=0.9"]
    config = compose_config([*QUICK, *words], [])
    found = forecast(config)
    assert found.evaluated == [8, 16, 18]
    assert found.rates[:5] == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.05])
    assert found.rates[-1] == 0.0
    weights = sum(p.nbytes for p in found.setup.learner.model.parameters())
    momentum = average = weights  # of SGD, and of train.ema
    expected = 3 * (weights + momentum + average) + 2 * weights + LOGS
    assert disk_bytes(found.setup) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("command", ["plan", "lr-find"])
def test_a_mistake_is_answered_as_in_training(imclass, tmp_path: Path, command: str) -> None:
    for typed in (["optimizer.lrr=1"], ["no_such_folder"], ["dataset=image_folder"]):
        assert imclass(command, *typed) == imclass("train", *typed)
    assert list(tmp_path.iterdir()) == []


def test_a_name_with_a_slash_makes_no_folder(tmp_path: Path) -> None:
    config = Config(model=ModelConfig(name="timm/resnet18"), output_dir=str(tmp_path))
    file = new_file(config, "plans", "html")
    assert file.parent == tmp_path / "plans"
    assert file.name.endswith("_timm-resnet18_fashion_mnist_mini.html")
