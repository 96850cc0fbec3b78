"""The shipped experiments: every file runs, and those that restate a tutorial do what it did."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from originals import cache_weights, make_cifar

from imclass.config.compose import compose_config
from imclass.config.groups import config_dir, group_choices
from imclass.config.schema import Config, values_of
from imclass.models import build_model
from imclass.runs.checkpoint import read_checkpoint
from imclass.runs.folder import open_run
from imclass.training.build import build_job
from imclass.training.optimizers import build_optimizer
from imclass.training.schedules import build_schedule

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
    return compose_config(overrides, [])


def test_the_six_tutorials_and_eleven_better_recipes_are_there() -> None:
    assert set(EXPERIMENTS) == {
        "cifar100_densenet121",
        "cifar100_resnet18",
        "cifar100_resnet18_cutmix",
        "cifar100_vgg16",
        "cifar100_vgg_keras",
        "cifar100_wideresnet28_10",
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
    first = next(line for line in lines if not line.startswith(("# @package", "# yaml-language-server")))
    assert first.startswith(f"# imclass train experiment={choice}")


@pytest.mark.parametrize("choice", EXPERIMENTS)
def test_experiments_say_what_was_measured_or_published(choice: str) -> None:
    text = (config_dir() / "experiment" / f"{choice}.yaml").read_text().replace("\n#", "")
    header = text[: text.index("defaults:")]
    measured = [r"[^t] [Mm]easured", r"\b(one|\d) run", r"\d %"]
    published = [r"Not measured here(.*published \d+\.\d %|: the weights)"]
    assert any(all(re.search(part, header) for part in parts) for parts in (measured, published))


@pytest.mark.parametrize("choice", EXPERIMENTS)
def test_experiments_run_for_some_steps(imclass, tmp_path: Path, choice: str) -> None:
    """On noise in the shape of their data, with their own optimizer, schedule and augmentation.

    The smallest model stands in for the large ones, which are built and run on the meta device below.
    """
    shape = GREY if choice.startswith("fashion") else []
    model = [] if "speedrun" in choice else ["model=lenet", "model.stem=auto", "model.pretrained=false"]
    outcome = imclass("train", f"experiment={choice}", *SMALL, *shape, *model, "logger.plots=false")
    assert outcome.code == 0, outcome.err
    assert json.loads((tmp_path / "outputs/some_steps/summary.json").read_text())["step"] == 2


@pytest.mark.parametrize("choice", EXPERIMENTS)
def test_models_of_experiments_fit_their_data(choice: str) -> None:
    config = compose(f"experiment={choice}")
    channels, side = (1, 28) if choice.startswith("fashion") else (3, 32)
    side, classes = config.dataset.resize or side, 100 if choice.startswith("cifar100") else 10
    without_weights = dataclasses.replace(config.model, pretrained=False)
    with torch.device("meta"):
        model = build_model(without_weights, in_channels=channels, classes=classes, size=side)
    logits = model(torch.empty(2, channels, side, side, device="meta"))
    assert logits.shape == (2, classes)
    logits.sum().backward()
    optimizer = build_optimizer(config.optimizer, model)
    optimized = sum(len(group["params"]) for group in optimizer.param_groups)
    assert optimized == len([p for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize(
    "choice",
    [
        pytest.param("cifar10_resnet18_plain", marks=pytest.mark.soak),
        pytest.param("cifar10_resnet50_finetune", marks=pytest.mark.soak),
        "cifar100_vgg_keras",
    ],
)
def test_tutorials_on_cifar_run_on_files_in_its_exact_format(
    imclass, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    weights = cache_weights(hub, "resnet50")
    make_cifar(choice.split("_")[0], tmp_path / "data", monkeypatch, count=12)
    small = [*SMALL[4:], "train.log_every=1st", "optimizer.lr=1e-9", "logger.plots=false"]
    outcome = imclass("train", f"experiment={choice}", *small)
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
    split = job.data.val
    images, _ = next(iter(job.test))
    assert torch.allclose(images, split.images[: len(images)] / 255, rtol=0, atol=1e-6)
    assert split is job.data.test


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
    small = [*SMALL[:-1], *GREY, "optimizer.lr=1e-12", "model=lenet", "model.stem=auto", "logger.plots=false"]
    experiment = "experiment=fashion_mnist_resnet18_keras"
    figures = []
    for name, seed in (("fashion_mnist_resnet18_keras", 1), ("again", 2), ("fresh", 2)):
        afresh = ["model.weights=none.pt"] if name == "fresh" else []
        outcome = imclass("train", experiment, *small, f"name={name}", f"seed={seed}", *afresh)
        assert outcome.code == 0, outcome.err
        figures.append(json.loads((tmp_path / f"outputs/{name}/summary.json").read_text())["test"]["loss"])
    assert figures[0] == figures[1] != figures[2]
    logs = [(tmp_path / f"outputs/{name}/train.log").read_text() for name in ("again", "fresh")]
    assert "weights  from outputs/fashion_mnist_resnet18_keras/best.safetensors\n" in logs[0]
    assert "weights  new ones; none.pt: no such file or run\n" in logs[1]


# What the tutorials say of themselves, by the names of our settings.
ADAM = {"optimizer.name": "adam", "optimizer.weight_decay": 0.0, "scheduler.name": "constant"}
SGD = {"optimizer.name": "sgd", "optimizer.momentum": 0.9, "optimizer.nesterov": False}
NO_AUGMENTATION = {"augment.crop": 0, "augment.flip": False}
PIXELS_OVER_255 = {"dataset.mean": [0.0], "dataset.std": [1.0]}
WRITTEN = {
    "fashion_mnist_resnet18_keras": ADAM
    | NO_AUGMENTATION
    | PIXELS_OVER_255
    | {
        "model.name": "resnet18",
        "model.stem": "cifar",
        "dataset.val_split": "test",
        "optimizer.lr": 0.001,
        "optimizer.eps": 1e-7,
        "train.batch_size": 32,
        "train.epochs": 5,
        "checkpoint.metric": "loss",
        "model.summary": True,
    },
    "cifar10_resnet50_finetune": SGD
    | {
        "model.name": "resnet50",
        "model.stem": "imagenet",
        "model.pretrained": True,
        "dataset.mean": [0.4914, 0.4822, 0.4465],
        "dataset.std": [0.2023, 0.1994, 0.2010],
        "augment.crop": 4,
        "augment.flip": True,
        "optimizer.lr": 0.001,
        "optimizer.weight_decay": 0.0,
        "scheduler.name": "cosine",
        "train.batch_size": 256,
        "train.epochs": 5,
        "train.eval_every": "1ep",
    },
    "cifar10_resnet18_plain": SGD
    | NO_AUGMENTATION
    | {
        "model.name": "resnet18",
        "model.stem": "imagenet",
        "dataset.mean": [0.485, 0.456, 0.406],
        "dataset.std": [0.229, 0.224, 0.225],
        "dataset.val_split": ["data_batch_5"],
        "optimizer.lr": 0.001,
        "optimizer.weight_decay": 0.0,
        "scheduler.name": "constant",
        "train.batch_size": 64,
        "train.epochs": 30,
        "train.eval_every": "3000st",
        "train.log_every": "3000st",
        "checkpoint.metric": "accuracy",
    },
    "fashion_mnist_resnet18_224": ADAM
    | NO_AUGMENTATION
    | PIXELS_OVER_255
    | {
        "model.name": "resnet18_d2l",
        "dataset.resize": 224,
        "optimizer.lr": 0.001,
        "train.batch_size": 16,
        "train.epochs": 5,
        "model.summary": True,
    },
    "fashion_mnist_densenet_96": ADAM
    | NO_AUGMENTATION
    | PIXELS_OVER_255
    | {
        "model.name": "densenet_d2l",
        "dataset.resize": 96,
        "optimizer.lr": 0.001,
        "train.batch_size": 16,
        "train.epochs": 5,
        "model.summary": True,
    },
    "cifar100_vgg_keras": ADAM
    | NO_AUGMENTATION
    | PIXELS_OVER_255
    | {
        "model.name": "vgg10_keras",
        "dataset.val_split": "test",
        "optimizer.eps": 1e-7,
        "optimizer.lr": 1e-4,
        "train.batch_size": 64,
        "train.epochs": 5,
        "train.log_every": "100st",
        "train.eval_every": "1ep",
    },
}


@pytest.mark.parametrize("choice", WRITTEN)
def test_tutorials_are_set_up_as_their_authors_wrote(choice: str) -> None:
    settings = values_of(compose(f"experiment={choice}"))
    assert {key: settings[key] for key in WRITTEN[choice]} == WRITTEN[choice]


def test_the_finetuning_rate_falls_from_0_001_to_0_00001() -> None:
    config = compose("experiment=cifar10_resnet50_finetune")
    schedule = build_schedule(config.scheduler, steps=101, steps_per_epoch=20)
    rates = [config.optimizer.lr * schedule.factor(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.001)
    assert rates[50] == pytest.approx((0.001 + 0.00001) / 2)
    assert rates[100] == pytest.approx(0.00001)
