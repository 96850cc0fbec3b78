"""imclass lr-find: a range test, on curves of known shape and on a network."""

import math
import shlex
from pathlib import Path

import pytest
import torch
from conftest import QUICK

from imclass.training.lr_range import HIGHEST, LOWEST, STEPS, RangeTest, smoothed

RATES = [LOWEST * (HIGHEST / LOWEST) ** (i / (STEPS - 1)) for i in range(STEPS)]


def curve(centre: float, diverges: float) -> list[float]:
    """Losses that fall from 2 to 1 around a rate, and rise from another on."""
    falls = [2 - 1 / (1 + math.exp(-4 * math.log10(rate / centre))) for rate in RATES]
    return [loss + max(0.0, math.log10(rate / diverges)) for loss, rate in zip(falls, RATES, strict=True)]


@pytest.mark.parametrize("centre", [1e-4, 1e-3, 1e-2])
def test_it_suggests_the_middle_of_the_fall(centre: float) -> None:
    losses = curve(centre, diverges=100 * centre)
    found = RangeTest(RATES, losses, smoothed(losses))
    assert found.suggestion == pytest.approx(centre, rel=0.3)


def test_where_no_rate_helps_it_suggests_none() -> None:
    losses = [2.0 + 0.01 * (-1) ** i for i in range(STEPS)]
    assert RangeTest(RATES, losses, smoothed(losses)).suggestion is None


def test_smoothing_keeps_lines_and_does_not_lag() -> None:
    line = [0.5 * i for i in range(100)]
    assert smoothed(line)[20:80] == pytest.approx(line[20:80])
    peak = smoothed([float(i == 50) for i in range(100)])
    assert peak.index(max(peak)) == 50


def test_it_leaves_a_curve_and_prints_the_command(imclass, tmp_path: Path) -> None:
    outcome = imclass("lr-find", "name=mine", *QUICK)
    assert (outcome.code, outcome.err) == (0, "")
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert file.parent == tmp_path / "outputs/lr-find"
    assert file.read_bytes().startswith(b"\x89PNG")
    (command,) = (line for line in outcome.out.splitlines() if line.startswith("next     "))
    words = shlex.split(command)[1:]
    assert words[:3] == ["imclass", "train", "name=mine"]
    (rate,) = (word.partition("=")[2] for word in words if word.startswith("optimizer.lr="))
    assert 1e-4 < float(rate) < 3
    assert imclass("check", *words[2:]).code == 0


def test_both_rates_of_muon_keep_their_ratio(imclass, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RangeTest, "suggestion", 0.03)
    monkeypatch.setattr("imclass.training.lr_range.STEPS", 5)
    words = [word for word in QUICK if not word.startswith("optimizer")]
    outcome = imclass("lr-find", *words, "optimizer=muon", "optimizer.lr=0.06", "optimizer.adamw_lr=0.002")
    assert outcome.out.endswith("optimizer=muon optimizer.lr=0.03 optimizer.adamw_lr=0.001\n")


@pytest.mark.parametrize("last", [9.0, math.nan])
def test_the_loss_that_ends_it_is_named(imclass, monkeypatch: pytest.MonkeyPatch, last: float) -> None:
    losses = map(torch.tensor, [2.0, 1.9, last])
    monkeypatch.setattr("imclass.training.step.Learner.backward", lambda *_: (next(losses), None))
    outcome = imclass("lr-find", *QUICK)
    assert (outcome.code, outcome.err) == (0, "")
    said = f"2 rates from 1e-06 to 1.1e-06, after which the loss of a batch was {last:.3g}, from 2 at first\n"
    assert f"tried    {said}" in outcome.out


def test_a_network_without_a_finite_loss_is_one_line(imclass, monkeypatch: pytest.MonkeyPatch) -> None:
    nan = torch.tensor(math.nan)
    monkeypatch.setattr("imclass.training.step.Learner.backward", lambda *_: (nan, nan))
    outcome = imclass("lr-find", *QUICK)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "the first loss is nan" in outcome.err
    assert "imclass data inspect" in outcome.err
