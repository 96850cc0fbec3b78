"""What other packages add through entry points: found, checked, trained with, and refused in one line."""

import json
import re
import subprocess
import sys
import venv
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from conftest import QUICK, merged, records
from test_readme import ENTRY_POINT, README, TINY

from imclass.config.schema import AugmentConfig
from imclass.data.augment import Augment
from imclass.data.draws import SliceGenerator

(INVERT,) = re.findall(r"`(\w+ = .*?)` under `imclass.augments` adds `augment=invert`", README)
PACKAGE = f"""\
{TINY}

import torch
from imclass.data.draws import draw_fractions


def invert(images, generator):
    chance = draw_fractions((len(images),), generator).to(images.device)
    return torch.where((chance < 0.5)[:, None, None, None], 255 - images, images)
"""
PROJECT = f"""\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "my_package"
version = "1.0"

[project.entry-points."imclass.models"]
{ENTRY_POINT}

[project.entry-points."imclass.augments"]
{INVERT}
"""


@pytest.fixture
def provide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that makes a package with this code provide `name` in an entry point group."""

    def provided(code: str, group: str, name: str) -> None:
        (tmp_path / "my_package.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "my_package", raising=False)
        point = EntryPoint(name, f"my_package:{name}", f"imclass.{group}s")
        monkeypatch.setattr(
            "imclass.config.groups.entry_points", lambda group: [point] if group == point.group else []
        )

    return provided


def test_an_augmentation_trains_and_is_a_function_of_the_step(imclass, train, provide, tmp_path) -> None:
    provide(PACKAGE, "augment", "invert")
    assert "invert" in imclass("list", "augments").out
    rest = ["scheduler=constant", "augment.crop=0"]
    whole = train("whole", "augment=invert", *rest)
    part = train("part", "augment=invert", *rest, "train.epochs=1")
    assert imclass("train", f"resume={part}", "train.epochs=2").code == 0
    assert records(part, split="train") == records(whole, split="train")
    assert records(whole) != records(train("other", "augment=none", *rest))
    assert "plugin: invert" in (whole / "config.yaml").read_text()


def test_an_augmentation_draws_alike_on_any_number_of_ranks(provide) -> None:
    provide(PACKAGE, "augment", "invert")
    augment = Augment(AugmentConfig(plugin="invert"), 2)
    images = torch.randint(256, (8, 3, 4, 4), dtype=torch.uint8)
    whole = augment(images, SliceGenerator(1, 8, torch.arange(8)), None)
    half = augment(images[4:], SliceGenerator(1, 8, torch.arange(4, 8)), None)
    assert torch.equal(whole[4:], half)
    assert not torch.equal(whole, images)


SIGNATURE = "expected augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor"
BROKEN = {
    "def invert(images): pass": f"has another signature (too many positional arguments); {SIGNATURE}",
    "def invert(images, generator): return None": f"returns NoneType; {SIGNATURE}",
    "def invert(images, generator): return images / 255": "returns float32 (2, 1, 28, 28); expected uint8 (",
    "def invert(images, generator): return images[:1]": "returns uint8 (1, 1, 28, 28); expected uint8 (2",
    "def invert(images, generator): 1 / 0": "raises ZeroDivisionError: division by zero",
}


@pytest.mark.parametrize("code", BROKEN, ids=lambda code: BROKEN[code][:20])
def test_check_tries_an_augmentation(imclass, provide, code: str) -> None:
    provide(code, "augment", "invert")
    outcome = imclass("check", "augment=invert")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1), outcome.err
    assert outcome.err.startswith("imclass: augment.plugin=invert: ")
    assert BROKEN[code] in outcome.err


def test_check_tries_an_optimizer(imclass, provide) -> None:
    provide("def mine(config): pass", "optimizer", "mine")
    outcome = imclass("check", "optimizer=mine", "optimizer.lr=0.1")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1), outcome.err
    assert "another signature (too many positional arguments); expected build(config: Opt" in outcome.err


def test_an_augmentation_that_is_not_installed_is_one_line(imclass, provide) -> None:
    provide(PACKAGE, "augment", "invert")
    expected = "imclass: augment.plugin=inwert: no such augmentation; did you mean 'invert'?\n"
    assert imclass("check", "augment.plugin=inwert") == (2, "", expected)


@pytest.mark.soak  # builds and installs
def test_a_package_as_its_author_makes_it(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "src/my_package").mkdir(parents=True)
    (project / "src/my_package/__init__.py").write_text(PACKAGE)
    (project / "pyproject.toml").write_text(PROJECT)

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", str(project))
    venv.create(tmp_path / "env", system_site_packages=True, symlinks=True)
    python = str(tmp_path / "env/bin/python")
    (site,) = (tmp_path / "env/lib").glob("python*/site-packages")
    (site / "ours.pth").write_text("\n".join(path for path in sys.path if path))  # of this environment
    (wheel,) = (project / "dist").glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    run(*pip, str(wheel))
    settings = merged(QUICK, ["model=tiny", "augment=invert", "train.epochs=1"])
    assert run(python, "-m", "imclass", "check", *settings).startswith("ok: tiny on synthetic")
    run(python, "-m", "imclass", "train", "name=mine", *settings)
    assert json.loads((tmp_path / "outputs/mine/summary.json").read_text())["status"] == "finished"
