"""The shipped experiments: every file runs, and those that restate a tutorial do what it did."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from originals import cache_weights, make_cifar

from imclass.build import build_job
from imclass.checkpoint import read_checkpoint
from imclass.checks import check_config
from imclass.compose import _register_schema
from imclass.config import Config, config_dir, group_choices
from imclass.rundir import open_run

EXPERIMENTS = group_choices("experiment")
SMALL = [
    "dataset=synthetic",
    "dataset.synthetic.train=40",
    "dataset.synthetic.test=16",
    "dataset.val_split=8",
    "train.batch_size=4",
    "train.epochs=null",
    "train.steps=2",
    "device.threads=1",
    "name=some_steps",
]
GREY = ["dataset.synthetic.shape=[1,28,28]"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of these tests land in a folder of their own."""
    monkeypatch.chdir(tmp_path)


def compose(*overrides: str) -> Config:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    _register_schema()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_dir())):
        composed = hydra_compose(config_name="train", overrides=list(overrides))
    return check_config(OmegaConf.to_container(composed, resolve=True))  # type: ignore[arg-type]


def test_the_six_tutorials_and_nine_better_recipes_are_there() -> None:
    assert set(EXPERIMENTS) == {
        "cifar100_densenet121",
        "cifar100_resnet18",
        "cifar100_vgg16",
        "cifar100_vgg_keras",
        "cifar10_resnet18",
        "cifar10_resnet18_plain",
        "cifar10_resnet50",
        "cifar10_resnet50_finetune",
        "cifar10_speedrun",
        "fashion_mnist_densenet121",
        "fashion_mnist_densenet_96",
        "fashion_mnist_resnet18",
        "fashion_mnist_resnet18_224",
        "fashion_mnist_resnet18_keras",
        "fashion_mnist_speedrun",
    }


@pytest.mark.parametrize("choice", EXPERIMENTS)
def test_experiments_open_with_their_command(choice: str) -> None:
    lines = (config_dir() / "experiment" / f"{choice}.yaml").read_text().splitlines()
    assert lines[1].startswith(f"# imclass train experiment={choice}")


@pytest.mark.parametrize("choice", EXPERIMENTS)
def test_experiments_run_for_some_steps(imclass, hub: Path, tmp_path: Path, choice: str) -> None:
    """On noise in the shape of their data, with their own model, optimizer, schedule and augmentation."""
    cache_weights(hub, "resnet50")
    shape = GREY if choice.startswith("fashion") else []
    outcome = imclass("train", f"experiment={choice}", *SMALL, *shape)
    assert outcome.code == 0, outcome.err
    assert json.loads((tmp_path / "outputs/some_steps/summary.json").read_text())["step"] == 2


@pytest.mark.parametrize(
    "choice", ["cifar10_resnet18_plain", "cifar10_resnet50_finetune", "cifar100_vgg_keras"]
)
def test_tutorials_on_cifar_run_on_files_in_its_exact_format(
    imclass, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    weights = cache_weights(hub, "resnet50")
    make_cifar(choice.split("_")[0], tmp_path / "data", monkeypatch, count=12)
    outcome = imclass("train", f"experiment={choice}", *SMALL[4:], "train.log_every=1st", "optimizer.lr=1e-9")
    assert outcome.code == 0, outcome.err
    run = tmp_path / "outputs/some_steps"
    figures = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    images = {figure["split"]: figure["images"] for figure in figures}
    assert images == {"train": 4, "val": 12 if choice != "cifar10_resnet50_finetune" else 6, "test": 12}
    if choice == "cifar10_resnet50_finetune":
        model = read_checkpoint(run / "checkpoints/best.pt")["model"]
        moved = (model["layer1.0.conv1.weight"] - weights["layer1.0.conv1.weight"]).abs().max()
        assert 0 < moved < 1e-5  # started from the ImageNet weights


def test_keras_pixels_are_divided_by_255_and_nothing_else() -> None:
    small = [setting for setting in SMALL if "val_split" not in setting]
    job = build_job(open_run(compose("experiment=fashion_mnist_resnet18_keras", *small, *GREY)))
    job.trainer.logger.close()
    split = job.data.splits.val
    images, _ = next(iter(job.test))
    assert torch.allclose(images, split.images[: len(images)] / 255, rtol=0, atol=1e-6)
    assert split is job.data.splits.test


def test_keras_l2_is_on_the_dense_kernel_only() -> None:
    """The gradient of 0.01 * weight ** 2 is 0.02 * weight, which is what Adam's weight decay adds."""
    config = compose("experiment=fashion_mnist_resnet18_keras", *SMALL, *GREY)
    job = build_job(open_run(config))
    job.trainer.logger.close()
    groups = job.trainer.learner.optimizer.param_groups
    decay = {tuple(p.shape): g["weight_decay"] for g in groups for p in g["params"] if g["weight_decay"]}
    assert decay == {(10, 512): 2 * 0.01}
    assert all(group["eps"] == 1e-7 for group in groups)


def test_keras_checkpoint_is_loaded_at_the_start_when_it_exists(imclass, tmp_path: Path) -> None:
    small = [*SMALL[:-1], *GREY, "optimizer.lr=1e-12", "model=lenet", "model.stem=auto"]
    experiment = "experiment=fashion_mnist_resnet18_keras"
    figures = []
    for name, seed in (("fashion_mnist_resnet18_keras", 1), ("again", 2), ("fresh", 2)):
        afresh = ["model.weights=none.pt"] if name == "fresh" else []
        outcome = imclass("train", experiment, *small, f"name={name}", f"seed={seed}", *afresh)
        assert outcome.code == 0, outcome.err
        figures.append(json.loads((tmp_path / f"outputs/{name}/summary.json").read_text())["test"]["loss"])
    assert figures[0] == figures[1] != figures[2]


def test_plain_validates_every_3000_steps_on_batch_5() -> None:
    config = compose("experiment=cifar10_resnet18_plain")
    assert (config.train.eval_every, config.train.log_every) == ("3000st", "3000st")
    assert config.dataset.val_split == ["data_batch_5"]
    assert (config.optimizer.lr, config.optimizer.weight_decay, config.optimizer.nesterov) == (
        0.001,
        0.0,
        False,
    )
