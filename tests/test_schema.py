"""What the fields of the schema declare, and what is derived from it."""

from typing import Any

import pytest

from imclass.config.check import check_config, check_sweep, unknown_key
from imclass.config.conflicts import unused
from imclass.config.durations import UNITS
from imclass.config.groups import group_choices
from imclass.config.schema import SETTINGS, SWEEP_SETTINGS, Config, SweepConfig, affects_results, values_of
from imclass.config.setting import Setting
from imclass.config.stored import as_of_today
from imclass.errors import ConfigError

ALL = SETTINGS | SWEEP_SETTINGS


@pytest.mark.parametrize("setting", ALL.values(), ids=lambda setting: setting.key)
def test_a_declaration_is_sound(setting: Setting) -> None:
    assert setting.meaning and setting.expected
    if setting.key != "optimizer.lr":  # 0 until the optimizer's file says it
        assert setting.check(setting.default) == (setting.default, "")
    assert {*setting.unit} <= {*UNITS}
    assert {*setting.only_with} <= {*group_choices(setting.key.split(".")[0])}
    assert setting.needs in {"", *ALL}


def test_defaults_are_those_of_the_dataclasses() -> None:
    assert values_of(Config()) == {key: setting.default for key, setting in SETTINGS.items()}
    assert values_of(SweepConfig()) == {key: setting.default for key, setting in SWEEP_SETTINGS.items()}


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("optimizer.lr", 1, 1.0),  # whole numbers pass as floats,
        ("name", 3, "3"),  # and as text
        ("dataset.val_split", 10, 10),
        ("dataset.val_split", 0.25, 0.25),
        ("dataset.val_split", "test", "test"),
        ("dataset.val_split", ["a", "b*", 3], ["a", "b*", "3"]),
        ("dataset.mean", [0, 1], [0.0, 1.0]),
        ("dataset.background", [0, 128, 255], [0, 128, 255]),
        ("device.threads", 2, 2),
        ("device.threads", "auto", "auto"),
        ("device.compile", True, True),
        ("scheduler.warmup", 0, 0),
        ("train.max_time", "2h", "2h"),
        ("train.max_time", None, None),
        ("output_dir", "with\na line break", "with\na line break"),
    ],
)
def test_values_that_are_accepted(key: str, value: Any, read: Any) -> None:
    accepted, problem = SETTINGS[key].check(value)
    assert (accepted, type(accepted), problem) == (read, type(read), "")


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("augment.crop", 1.5, "augment.crop=1.5: expected a whole number of at least 0 and at most 64"),
        ("augment.cutout", 1.5, "expected a whole number of at least 0"),
        ("augment.randaugment", 1.5, "expected a whole number of at least 0 and at most 16"),
        ("augment.magnitude", 1.5, "expected a whole number of at least 0 and at most 30"),
        ("seed", -1, "expected a whole number of at least 0 and at most 4294967295"),
        ("optimizer.lr", float("inf"), "expected a number above 0"),
        ("optimizer.momentum", 1, "expected a number of at least 0 and below 1"),
        ("optimizer.betas", [0.9], "expected a list of 2 numbers of at least 0 and below 1"),
        ("optimizer.betas", [0.9, 1], "expected a list of 2 numbers of at least 0 and below 1"),
        ("dataset.mean", [], "expected a list of numbers from 0 to 1, one per channel"),
        ("dataset.mean", [True], "expected a list of numbers from 0 to 1, one per channel"),
        ("dataset.std", [0.5, 0], "expected a list of numbers above 0 and at most 1, one per channel"),
        ("dataset.background", "withe", "[R,G,B] from 0 to 255; did you mean 'white'?"),
        ("dataset.background", [0, 128], "expected white, black, ignore, or [R,G,B] from 0 to 255"),
        ("dataset.background", [0, 128, 256], "expected white, black, ignore, or [R,G,B] from 0 to 255"),
        ("dataset.fraction", 0.0, "expected a number above 0 and at most 1"),
        ("dataset.fraction", 1.1, "expected a number above 0 and at most 1"),
        ("dataset.synthetic.shape", [3, 32], "expected [channels, height, width] with sides of at least 8"),
        ("dataset.synthetic.shape", [0, 9, 9], "expected [channels, height, width]"),
        ("dataset.synthetic.shape", [3, 7, 9], "expected [channels, height, width]"),
        ("dataset.synthetic.classes", 1, "expected a whole number of at least 2"),
        ("dataset.synthetic.test", 0, "expected a whole number of at least 1"),
        *(
            ("dataset.val_split", value, "expected a fraction between 0 and 1, a count, test, or a list")
            for value in (0, -3, 1.5, 1.0, True, "tset", None, [])
        ),
        ("device.threads", True, "expected a whole number of at least 1, or auto"),
        ("device.threads", "aut", "or auto; did you mean 'auto'?"),
        ("device.compile", "maybe", "expected one of true, false, cuda_graphs, auto"),
        ("device.precision", 16, "device.precision=16: expected one of auto, fp32, bf16, fp16"),
        ("model.stem", "cifra", "expected one of auto, cifar, imagenet; did you mean 'cifar'?"),
        (
            "train.eval_every",
            2,
            "train.eval_every=2: expected a duration such as 1ep (epochs) or 500st (steps)",
        ),
        ("train.eval_every", 0.5, "expected a duration such as 1ep (epochs)"),
        ("train.eval_every", None, "expected a duration such as 1ep (epochs)"),
        ("train.eval_every", "10min", "expected a duration such as 1ep (epochs)"),
        ("train.log_every", 0, "train.log_every=0: expected a duration above 0"),
        ("train.max_time", "0min", "expected a duration above 0"),
        ("train.max_time", 10, "expected a duration such as 90s, 10min or 2h"),
        ("scheduler.warmup", 3, "expected a duration such as 1ep (epochs) or 500st (steps) or 10%"),
        ("scheduler.milestones", [5], "scheduler.milestones=[5]: expected a duration"),
        ("name", 1.5, "name=1.5: expected text; put it in quotes: \"name='1.5'\""),
        ("name", float("nan"), "name=nan: expected text; put it in quotes"),
        ("name", True, "name=true: expected text; put it in quotes"),
        ("name", ".hidden", "no leading dot"),
        ("output_dir", "", "expected a folder"),
    ],
    ids=str,
)
def test_values_that_are_refused(key: str, value: Any, problem: str) -> None:
    _, found = SETTINGS[key].check(value)
    assert problem in found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("train.patience", "'train.early_stopping'?"),
        ("patience", "'scheduler.patience' or 'train.early_stopping'?"),
        ("lr", "'optimizer.lr'?"),
        ("learning_rate", "'optimizer.lr'?"),
        ("train.epcohs", "'train.epochs'"),
        ("sweep.trails", "'sweep.trials'"),
        ("optimzer", "'optimizer'"),
    ],
)
def test_unknown_keys_name_the_nearest(key: str, suggestion: str) -> None:
    assert unknown_key(key).startswith(f"{key}: no such setting; did you mean {suggestion}")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"dataset": {"root": "."}},
            "dataset.root: has no effect with dataset=fashion_mnist_mini, "
            "only with image_folder, fashion_mnist, cifar10 or cifar100",
        ),
        ({"dataset": {"test_split": 0.2}}, "only with image_folder"),
        ({"dataset": {"download": False}}, "only with fashion_mnist, cifar10 or cifar100"),
        (
            {"dataset": {"name": "cifar10", "synthetic": {"classes": 3}}},
            "dataset.synthetic.classes: has no effect",
        ),
        (
            {"optimizer": {"name": "adam", "momentum": 0.9, "betas": [0.9, 0.99], "eps": 1.0}},
            "optimizer.momentum: has",
        ),
    ],
)
def test_a_setting_of_another_choice_is_refused(settings: dict[str, Any], problem: str) -> None:
    sgd = {"lr": 0.1, "momentum": 0.9, "nesterov": True}
    settings = {"optimizer": sgd, "scheduler": {"final": 0.0}} | settings
    with pytest.raises(ConfigError) as error:
        check_config(settings)
    assert problem in str(error.value)
    assert len(error.value.problems) == 1
    check_config(settings, typed=())  # of a run that exists, only what is typed now is refused
    check_config(settings, to_train=False)


@pytest.mark.parametrize("plugin", ["dataset", "optimizer", "scheduler"])
def test_a_plugin_reads_what_it_likes(monkeypatch: pytest.MonkeyPatch, plugin: str) -> None:
    monkeypatch.setattr(
        "imclass.config.conflicts.group_choices", lambda group: [*group_choices(group), "mine"]
    )
    own = {
        "dataset": {"name": "mine", "root": ".", "test_split": 0.3},
        "optimizer": {"name": "mine", "lr": 0.1, "adamw_lr": 0.1},
        "scheduler": {"name": "mine", "gamma": 0.1},
    }
    settings = {"optimizer": {"lr": 0.1, "momentum": 0.9, "nesterov": True}, "scheduler": {"final": 0.0}}
    check_config(settings | {plugin: own[plugin]})


def test_a_setting_that_waits_for_another_is_named() -> None:
    config = Config()
    config.augment.magnitude = 13
    config.model.weights_required = False
    assert unused(config) == [
        "model.weights_required=false has no effect without model.weights",
        "augment.magnitude=13 has no effect without augment.randaugment",
    ]
    config.augment.randaugment = 1
    config.model.weights = "best.pt"
    assert unused(config) == []
    config.train.steps = 9
    assert unused(config) == []
    assert unused(config, {"train.epochs"}) == ["train.epochs=3 has no effect with train.steps=9"]
    config.train.smoke = True
    assert unused(config, {"train.epochs"}) == []
    sweep, problems = check_sweep({"top": 5})
    assert (unused(sweep), problems) == (["sweep.top=5 has no effect without sweep.seeds"], [])


def test_check_and_train_say_it(imclass, train, tmp_path) -> None:
    assert (
        "warning: augment.magnitude=13 has no effect without augment.randaugment"
        in imclass("check", "augment.magnitude=13").out
    )
    run = train("said", "augment.magnitude=13", "train.epochs=0.2")
    assert "warning: augment.magnitude=13 has no effect" in (run / "train.log").read_text()


def test_figures_depend_on_all_but_these() -> None:
    without = {key for key in SETTINGS if not affects_results(key)}
    assert {key for key in SETTINGS if key.startswith("logger.")} <= without
    assert {key for key in without if not key.startswith("logger.")} == {
        "model.summary",
        "dataset.root",
        "dataset.download",
        "dataset.on_damaged",
        "checkpoint.every",
        "device.allocator",
        "name",
        "output_dir",
        "resume",
        "debug",
    }
    assert affects_results("some.plugin.setting")


def test_durations_of_older_runs_get_their_unit() -> None:
    stored = {"train": {"eval_every": 2, "log_every": 0.5, "max_time": None, "epochs": 3}}
    stored |= {"scheduler": {"warmup": 0, "milestones": [1, "5ep"]}, "checkpoint": {"every": "10min"}}
    assert as_of_today(stored) == {
        "train": {"eval_every": "2ep", "log_every": "0.5ep", "max_time": None, "epochs": 3},
        "scheduler": {"warmup": 0, "milestones": ["1ep", "5ep"]},
        "checkpoint": {"every": "10min"},
    }


def test_folders_of_older_runs_were_read_without_a_background() -> None:
    for stored, background in (({}, "ignore"), ({"background": "black"}, "black")):
        settings = as_of_today({"dataset": {"name": "image_folder", **stored}})
        assert settings["dataset"]["background"] == background
    assert as_of_today({"dataset": {"name": "cifar10"}}) == {"dataset": {"name": "cifar10"}}
