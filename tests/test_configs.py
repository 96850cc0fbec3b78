"""Every shipped YAML file is found here and does what it says."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from pictures import make_folder
from torch import nn

from imclass.config.groups import config_dir, group_choices
from imclass.config.schema import SETTINGS, AugmentConfig, Config, OptimizerConfig, SchedulerConfig
from imclass.data.augment import Augment
from imclass.data.datasets import DATASETS
from imclass.models import MODELS
from imclass.training.optimizers import OPTIMIZERS, build_optimizer
from imclass.training.schedules import build_schedule

FILES = sorted(p.relative_to(config_dir()) for p in config_dir().rglob("*.yaml"))
GROUPS = sorted({file.parts[0] for file in FILES if len(file.parts) > 1})
NEEDS = {"dataset=image_folder": ["dataset.root=pictures"]}  # what a choice needs beside itself


def contents(file: Path) -> dict:
    loaded = OmegaConf.to_container(OmegaConf.load(config_dir() / file))
    assert isinstance(loaded, dict)
    return loaded


@pytest.mark.parametrize("file", FILES, ids=str)
def test_opens_with_a_comment_that_says_what_it_is(file: Path) -> None:
    lines = (config_dir() / file).read_text().splitlines()
    first = next(line for line in lines if not line.startswith(("# @package", "# yaml-language-server")))
    assert first.startswith("# ")
    assert len(first) > 10


@pytest.mark.parametrize(
    "file", [f for f in FILES if f.parts[0] not in ("experiment", "train.yaml")], ids=str
)
def test_composes_and_passes_the_checks(
    imclass, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: Path
) -> None:
    make_folder(tmp_path / "pictures", {".": 2})
    choice = f"{file.parent.as_posix()}={file.stem}"
    monkeypatch.setattr("imclass.config.conflicts._has_gpu_driver", lambda: True)
    monkeypatch.setattr("imclass.config.conflicts._is_apple", lambda: True)
    outcome = imclass("check", choice, *NEEDS.get(choice, []))
    assert (outcome.code, outcome.err) == (0, "")


@pytest.mark.parametrize("group", ["model", "dataset", "optimizer", "scheduler"])
def test_the_name_in_a_file_is_the_name_of_the_file(group: str) -> None:
    for choice in group_choices(group):
        assert contents(Path(group, f"{choice}.yaml"))["name"] == choice


def test_every_component_has_a_file_and_every_file_a_component() -> None:
    assert set(group_choices("model")) == set(MODELS)
    assert set(group_choices("dataset")) == set(DATASETS)
    assert set(group_choices("optimizer")) == set(OPTIMIZERS)


@pytest.mark.parametrize("choice", group_choices("optimizer"))
def test_optimizer_files_build_and_lower_a_loss(choice: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = build_optimizer(OptimizerConfig(**contents(Path("optimizer", f"{choice}.yaml"))), model)
    x, y = torch.randn(64, 8), torch.arange(64) % 3
    losses = []
    for _ in range(100):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("choice", group_choices("scheduler"))
def test_scheduler_files_build(choice: str) -> None:
    config = SchedulerConfig(**contents(Path("scheduler", f"{choice}.yaml")))
    schedule = build_schedule(config, steps=100, steps_per_epoch=20)
    rates = [schedule.factor(step) for step in range(100)]
    assert max(rates) == 1.0
    assert rates[-1] < 1.0 or choice in ("constant", "plateau")


@pytest.mark.parametrize("choice", group_choices("augment"))
def test_augment_files_build(choice: str) -> None:
    augment = Augment(AugmentConfig(**contents(Path("augment", f"{choice}.yaml"))), 10)
    images = torch.randint(256, (16, 3, 32, 32), dtype=torch.uint8)
    draws = torch.Generator().manual_seed(0)
    first = augment.resized_crop(images, (32, 32), draws) if augment.config.resized_crop else images
    changed = not torch.equal(augment(first, draws, None), images)
    assert changed == (choice != "none")


def test_no_setting_is_declared_in_two_places() -> None:
    """A YAML file of a group sets keys of that group only; what it repeats from the schema must differ."""
    defaults = Config()
    for file in FILES:
        if (
            file.parts[0] in ("optimizer", "scheduler", "experiment", "sweep", "hydra")
            or len(file.parts) == 1
        ):
            continue
        section = getattr(defaults, file.parts[0])
        for key, value in contents(file).items():
            assert f"{file.parts[0]}.{key}" in SETTINGS
            assert key in ("name", "type") or value != getattr(section, key), f"{file}: {key}"
