"""train.smoke and dataset.at_most: every phase, on a few images."""

import dataclasses
import json
from pathlib import Path

import pytest
from pictures import load, make_folder

from imclass.config.compose import compose_config
from imclass.config.dataset import DatasetConfig, SyntheticConfig
from imclass.config.smoke import smoke_run
from imclass.data.datasets import load_dataset
from imclass.data.few import chosen

LONG = ("train.epochs=90", "train.batch_size=64", "dataset.synthetic.train=640", "scheduler.warmup=5ep")


def test_every_phase_in_six_steps_marked_and_under_its_own_name(train, imclass, tmp_path: Path) -> None:
    train("mine", "train.smoke=true", "logger.plots=true", "train.resolutions=[14:30ep]", *LONG)
    run = tmp_path / "outputs/mine_smoke"
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["status"], summary["smoke"], summary["step"]) == ("finished", True, 6)
    splits = [json.loads(line)["split"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert splits == ["train", "train", "train", "val"] * 2 + ["test"]
    for file in ("plots/mistakes.png", "checkpoints/best.pt", "best.safetensors"):
        assert (run / file).is_file()
    assert "A smoke run" in (run / "report.html").read_text()
    end = (run / "train.log").read_text().splitlines()[-13:]
    assert "smoke run    a few images and steps, to try every phase: its figures mean nothing" in end
    before = (run / "summary.json").read_bytes()
    assert imclass("train", f"resume={run}").code == 0  # finished: its own settings are those of a smoke run
    assert (run / "summary.json").read_bytes() == before
    assert "into outputs/mine\n" in imclass("check", "name=mine").out


def test_what_a_smoke_run_keeps_and_that_it_stays_one() -> None:
    words = ["experiment=cifar10_speedrun", "train.smoke=true", "name=mine"]
    config = compose_config(words, [])
    assert smoke_run(config) == config
    full = compose_config([words[0], "name=mine"], [])
    for part in ("model", "augment", "optimizer", "device", "logger"):
        assert getattr(config, part) == getattr(full, part)
    assert dataclasses.replace(config.train, smoke=False).ema == full.train.ema
    assert len(config.train.resolutions) == len(full.train.resolutions)


def test_times_that_a_smoke_run_is_too_short_for_are_spread_over_it() -> None:
    words = ["scheduler=multistep", "scheduler.milestones=[9ep,19ep]", "scheduler.warmup=2ep"]
    config = compose_config([*words, "train.epochs=20", "train.smoke=true"], [])
    assert config.scheduler.milestones == ["33.33%", "66.67%"]
    assert config.scheduler.warmup == "30%"


def test_a_few_images_of_all_classes_the_same_each_time() -> None:
    synthetic = SyntheticConfig(classes=4, train=100, test=10)
    config = DatasetConfig(name="synthetic", at_most=20, synthetic=synthetic)
    data, again = load_dataset(config), load_dataset(config)
    assert data.train.labels.bincount().tolist() == [5, 5, 5, 5]
    assert len(data.test) == 10
    others = load_dataset(dataclasses.replace(config, at_most=21))
    assert data.fingerprint == again.fingerprint != others.fingerprint
    whole = load_dataset(dataclasses.replace(config, at_most=None))
    picked = chosen(whole.train.labels, 20)
    assert data.train.images.equal(whole.train.images[picked])


@pytest.mark.usefixtures("cache")
def test_of_a_folder_the_others_are_not_decoded(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "pictures", {"train": 10, "test": 9})
    few = load(root, at_most=6)
    used = {*(few.train.files or ()), *(few.test.files or ())}
    assert (len(few.train), len(few.test), len(used)) == (6, 6, 12)
    for file in root.rglob("*.png"):
        if file.relative_to(root).as_posix() not in used:
            file.write_bytes(b"no picture any more")
    assert load(root, at_most=6).train.files == few.train.files


def test_a_smoke_run_of_a_fold_needs_no_image_of_each_class_in_each_fold() -> None:
    config = compose_config(["dataset.folds=5", "dataset.fold=2", "train.smoke=true"], [])
    assert (config.dataset.folds, config.dataset.fold, config.dataset.val_split) == (None, 0, 0.25)
