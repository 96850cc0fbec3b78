"""Every mistake ends as at most 6 lines on stderr that name the key, exit code 2, nothing left behind."""

from pathlib import Path

import pytest

from imclass.config.app import run_app
from imclass.config.invocation import Invocation
from imclass.errors import ConfigError

# What is typed -> what the message must contain: the key, and what helps.
MISTAKES = [
    # misspelt keys, groups and names
    (["optimizer.lrr=1"], ["optimizer.lrr", "'optimizer.lr'"]),
    (["optimzer.lr=1"], ["optimzer.lr", "'optimizer.lr'"]),
    (["lr=0.1"], ["lr", "'optimizer.lr'"]),
    (["+lrr=1"], ["lrr"]),
    (["modle=resnet18"], ["modle", "'model'"]),
    (["model=resnt18"], ["model=resnt18", "'resnet18'"]),
    (["model=mobilnet_v2"], ["model=mobilnet_v2", "'mobilenet_v2'"]),
    (["model=timm/resnet81"], ["model=timm/resnet81", "'resnet18'"]),
    (["plan=true"], ["plan=true: no setting but a command: imclass plan ..."]),
    (["lr_find=true"], ["lr_find=true", "imclass lr-find ..."]),
    (["train.patience=3"], ["train.patience", "did you mean 'train.early_stopping'?"]),
    (["dataset=cifar1O"], ["dataset=cifar1O", "'cifar10'"]),
    (["optimizer=sdg"], ["optimizer=sdg", "'sgd'"]),
    (["scheduler=cosin"], ["scheduler=cosin", "'cosine'"]),
    (["augment=cropflip"], ["augment=cropflip", "'crop_flip'"]),
    (["device=gpu"], ["device=gpu", "cuda"]),
    (["experiment=nothing_like_it"], ["experiment=nothing_like_it"]),
    (["model=null"], ["model=null", "resnet18"]),
    (["model.name=resnt18"], ["model.name=resnt18", "'resnet18'"]),
    (["optimizer.name=adan"], ["optimizer.name=adan", "'adam'"]),
    (["model.stem=cifra"], ["model.stem=cifra", "cifar"]),
    # wrong types
    (["optimizer.lr=abc"], ["optimizer.lr=abc", "number"]),
    (["train.batch_size=012"], ["train.batch_size=012", "number"]),
    (["train.batch_size=1.5"], ["train.batch_size=1.5", "whole number"]),
    (["augment.crop_scale=[1,0.2]"], ["augment.crop_scale=[1, 0.2]", "[least, largest], above 0"]),
    (["augment.flip=alternate"], ["augment.flip=alternate", "'alternating'"]),
    (["augment=photo", "augment.crop=4"], ["augment.crop, augment.resized_crop: choose one"]),
    (["dataset.centre=0.9"], ["dataset.centre", "image_folder"]),
    (["augment.crop=1.5"], ["augment.crop=1.5", "a whole number of at least 0 and at most 64"]),
    (["name=1.5"], ["name=1.5: expected text; put it in quotes: \"name='1.5'\""]),
    (["name=1e3"], ["name=1e3: expected text; put it in quotes: \"name='1e3'\""]),
    (["name=True"], ["name=True: expected text; put it in quotes: \"name='True'\""]),
    (["name=nan"], ["name=nan: expected text; put it in quotes"]),
    (["model.pretrained=on"], ["model.pretrained=on", "true or false"]),
    (["train.epochs=true"], ["train.epochs=true", "number"]),
    (["dataset.mean=0.5"], ["dataset.mean=0.5", "list"]),
    (["seed=null"], ["seed=null", "number"]),
    (["train=5"], ["train"]),
    # ranges
    (["optimizer.lr=0"], ["optimizer.lr=0", "above 0"]),
    (["optimizer.lr=nan"], ["optimizer.lr=nan", "above 0"]),
    (["train.batch_size=0"], ["train.batch_size=0", "at least 1"]),
    (["train.epochs=-1"], ["train.epochs=-1", "above 0"]),
    (["train.label_smoothing=1"], ["train.label_smoothing=1", "below 1"]),
    (["dataset.fraction=1.5"], ["dataset.fraction=1.5", "at most 1"]),
    (["dataset.val_split=1.5"], ["dataset.val_split=1.5", "fraction"]),
    (["dataset.val_split=tset"], ["dataset.val_split=tset", "test"]),
    (["augment.magnitude=31"], ["augment.magnitude=31", "30"]),
    (["device.precision=bf61"], ["device.precision=bf61", "'bf16'"]),
    (["seed=-1"], ["seed=-1", "at least 0"]),
    (["name=../../x"], ["name=../../x", "letters"]),
    (["train.eval_every=2"], ["train.eval_every=2", "1ep (epochs) or 500st (steps)"]),
    (["train.eval_every=10min"], ["train.eval_every=10min", "1ep"]),
    (["train.eval_every=0st"], ["train.eval_every=0st", "above 0"]),
    (["train.max_time=5ep"], ["train.max_time=5ep", "10min"]),
    (["train.log_every=often"], ["train.log_every=often", "500st"]),
    # contradictions
    (["scheduler.warmup=9ep"], ["scheduler.warmup=9ep", "longer than training"]),
    (["scheduler=multistep", "scheduler.milestones=[1ep,9ep]"], ["scheduler.milestones", "9ep"]),
    (["train.batch_size=8000"], ["train.batch_size=8000", "5,400"]),
    (["dataset.val_split=6000"], ["dataset.val_split=6000"]),
    (["train.budget=5min", "train.steps=9"], ["train.budget, train.steps: two lengths", "keep one"]),
    (["train.budget=5ep"], ["train.budget=5ep", "10min"]),
    (["train.epochs=null"], ["train.epochs, train.steps, train.budget: all null; set one"]),
    (["--epochs", "3"], ["--epochs", "did you mean 'train.epochs'"]),
    (
        ["scheduler=multistep", "scheduler.milestones=[1ep,1ep]"],
        ["scheduler.milestones", "expected rising values"],
    ),
    (["train.resolutions=[20:60%,24:30%]"], ["train.resolutions=[20:60%,24:30%]", "rising times"]),
    (["train.resolutions=[20:9ep]"], ["train.resolutions=[20:9ep]", "within training"]),
    (["optimizer=muon", "model.freeze=backbone"], ["optimizer=muon", "model.freeze=backbone leaves none"]),
    (["train.resolutions=[20]"], ["train.resolutions=[20]", "[20:30%,24:60%]"]),
    (["train.resolutions=[4:1ep]"], ["train.resolutions=", "'4:1ep'", "[20:30%,24:60%]"]),
    (["--lr=3"], ["--lr", "no such option"]),
    (["--config-dir"], ["--config-dir", "needs a value"]),
    (["device=cuda"], ["device.type=cuda", "device=cpu"]),
    (["device=mps"], ["device.type=mps", "device=cpu"]),
    (["device=cpu", "device.precision=fp16"], ["device.precision=fp16", "bf16"]),
    (["device.threads=4000"], ["device.threads=4000", "cores"]),
    (["augment.mixup=0.2", "train.batch_size=1"], ["augment.mixup", "batch"]),
    (["augment.randaugment=2", "augment.trivialaugment=true"], ["augment.randaugment", "one of the two"]),
    (["optimizer=adam", "optimizer.momentum=0.9"], ["optimizer.momentum", "no effect"]),
    (["dataset.root=."], ["dataset.root=.", "no class folders with pictures", "dataset=cifar10"]),
    (["my_pictures"], ["'my_pictures'", "no such folder or file", "key=value"]),
    (["cifar10"], ["did you mean dataset=cifar10?"]),
    (["--data", "nowhere"], ["nowhere", "no such folder or file"]),
    (["dataset=cifar10", "dataset.test_split=0.3"], ["dataset.test_split", "only with image_folder"]),
    (["dataset.synthetic.classes=3"], ["dataset.synthetic.classes", "only with synthetic"]),
    (["scheduler=step", "scheduler.gamma=null"], ["scheduler.gamma", "needs a value"]),
    (["device.micro_batch=512"], ["device.micro_batch=512", "train.batch_size"]),
    (["model.freeze=backbone"], ["model.freeze=backbone", "model.weights="]),
    (["model.freeze=0"], ["model.freeze=0", "a number of blocks from 1"]),
    (["model.freeze=bakbone"], ["model.freeze=bakbone", "'backbone'"]),
    (["optimizer.layer_decay=2"], ["optimizer.layer_decay=2", "at most 1"]),
    (
        ["model.pretrained=true", "model.freeze=backbone", "optimizer.layer_decay=0.5"],
        ["optimizer.layer_decay: has no effect with model.freeze=backbone"],
    ),
    (["dataset.mean=[0.5]"], ["dataset.mean", "both"]),
    (["dataset.mean=[0.5]", "dataset.std=[0.5,0.5]"], ["dataset.mean", "equally many"]),
    (["dataset=image_folder"], ["dataset.root", "dataset.root=FOLDER"]),
    # files
    (["dataset=cifar10", "dataset.root=/no/such/folder"], ["dataset.root=/no/such/folder", "no such folder"]),
    (["model.weights=none.pt"], ["model.weights=none.pt", "no such file"]),
    (["model.weights=none"], ["model.weights=outputs/none", "no such run"]),
    (["model.weights=/"], ["model.weights=/", "a folder, but of no run"]),
    (["resume=outputs/none"], ["resume=outputs/none", "or a run"]),
    (["output_dir=/dev/null/x"], ["output_dir=/dev/null/x", "not a writable folder"]),
    (["--config-dir", "/no/such/folder"], ["--config-dir", "no such folder"]),
    # usage
    (["optimizer.lr"], ["optimizer.lr", "key=value"]),
    (["optimizer.lr=0.1", "optimizer.lr=0.2"], ["optimizer.lr", "twice"]),
]


@pytest.mark.fault("F1")
@pytest.mark.parametrize(("typed", "expected"), MISTAKES, ids=lambda x: " ".join(x)[:40])
def test_mistake(imclass, tmp_path: Path, typed: list[str], expected: list[str]) -> None:
    code, out, err = imclass("train", *typed)
    assert code == 2
    assert out == ""
    lines = err.splitlines()
    assert 1 <= len(lines) <= 6
    assert all(line.startswith("imclass: ") for line in lines)
    assert "Traceback" not in err
    for text in expected:
        assert text in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("F1")
def test_all_problems_of_a_configuration_are_reported_at_once(imclass) -> None:
    code, _, err = imclass(
        "check", "optimizer.lrr=1", "model=resnt18", "train.batch_size=abc", "seed=-1", "train.epochs=0"
    )
    assert code == 2
    problems = [line.removeprefix("imclass: ").split(":")[0] for line in err.splitlines()]
    assert problems == ["optimizer.lrr", "model=resnt18", "train.batch_size=abc", "seed=-1", "train.epochs=0"]


def test_check_finds_what_train_finds(imclass) -> None:
    typed = ["optimizer.lrr=1", "device=mps"]
    assert imclass("check", *typed) == imclass("train", *typed)


def test_problems_of_overrides_and_of_what_they_compose_come_together(imclass) -> None:
    _, _, err = imclass("check", "optimizer.lrr=1", "device=mps", "scheduler.warmup=9ep")
    assert "optimizer.lrr" in err
    assert "device.type=mps" in err
    assert "scheduler.warmup=9ep" in err


def test_a_faulty_file_of_the_user_is_reported_whole(imclass, tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "bad.yaml").write_text(
        "# @package _global_\noptimizer:\n  lr: fast\ntrain:\n  epcohs: 3\n  batch_size: -2\n"
    )
    code, _, err = imclass("check", "--config-dir", str(tmp_path / "mine"), "experiment=bad")
    assert code == 2
    assert "optimizer.lr=fast" in err
    assert "train.epcohs" in err
    assert "'train.epochs'" in err
    assert "train.batch_size=-2" in err


def test_debug_shows_the_traceback(imclass) -> None:
    _, _, err = imclass("check", "optimizer.lr=abc", "debug=true")
    assert "Traceback" in err
    assert "optimizer.lr=abc" in err


def test_a_sound_configuration_passes_and_leaves_nothing(imclass, tmp_path: Path) -> None:
    code, out, err = imclass("check", "model=vgg11", "dataset=synthetic", "train.epochs=0.5")
    assert (code, err) == (0, "")
    assert "vgg11 on synthetic" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("S5")
def test_escape_codes_in_a_value_are_not_printed_raw(imclass) -> None:
    _, _, err = imclass("check", "name='a\x1b[31mb'")
    assert "\x1b" not in err
    assert "name=" in err


def test_config_error_carries_every_problem() -> None:
    with pytest.raises(ConfigError) as caught:
        run_app(lambda *_: None, Invocation("check", overrides=("seed=-1", "train.epochs=0")))
    assert len(caught.value.problems) == 2
