"""The search space: Hydra's sweep grammar as Optuna's distributions, and what is refused."""

import math

import optuna
import pytest

from imclass.config.invocation import Invocation
from imclass.sweeps.request import Request, read_request
from imclass.sweeps.space import Parameter, read_space, settings_of, stored_space
from imclass.sweeps.study import build_sampler


def one(key: str, expression: str) -> Parameter:
    space, problems = read_space({key: expression}, [])
    assert problems == []
    return space[key]


def draws(parameter: Parameter, sampler: str = "random", count: int = 200) -> list[str]:
    study = optuna.create_study(sampler=build_sampler(sampler, 0, 0))
    trials = [study.ask({parameter.key: parameter.distribution()}) for _ in range(count)]
    return [parameter.text(trial.params[parameter.key]) for trial in trials]


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def test_a_logarithmic_interval_is_drawn_evenly_over_its_decades() -> None:
    values = [float(text) for text in draws(one("optimizer.lr", "tag(log, interval(1e-4, 1))"), count=400)]
    assert all(1e-4 <= value <= 1 for value in values)
    decades = [math.floor(math.log10(value)) for value in values]
    for decade in (-4, -3, -2, -1):
        assert 60 <= decades.count(decade) <= 140


def test_a_plain_interval_is_drawn_evenly() -> None:
    values = [float(text) for text in draws(one("train.label_smoothing", "interval(0, 0.2)"))]
    assert all(0 <= value <= 0.2 for value in values)
    assert 60 <= sum(value < 0.1 for value in values) <= 140


@pytest.mark.parametrize("expression", ["int(interval(3, 9))", "tag(log, int(interval(3, 9)))"])
def test_whole_numbers_include_both_ends(expression: str) -> None:
    assert set(draws(one("train.batch_size", expression))) == {str(n) for n in range(3, 10)}


@pytest.mark.parametrize(
    ("key", "expression", "expected"),
    [
        ("optimizer.lr", "0.1,0.01", {"0.1", "0.01"}),
        ("model", "choice(resnet18,vgg11)", {"resnet18", "vgg11"}),
        ("augment.crop", "range(0,5,2)", {"0", "2", "4"}),
        ("train.epochs", "range(0.1,0.5,0.1)", {"0.1", "0.2", "0.3", "0.4"}),
        ("optimizer.nesterov", "true,false", {"True", "False"}),
        ("optimizer", "glob(adam*)", {"adam", "adamw"}),
        ("dataset.synthetic.shape", "choice([1,8,8],[3,8,8])", {"[1,8,8]", "[3,8,8]"}),
    ],
)
def test_values_come_out_as_they_are_typed(key: str, expression: str, expected: set[str]) -> None:
    parameter = one(key, expression)
    assert set(parameter.values) == expected
    assert set(draws(parameter)) == expected
    assert stored_space({key: parameter.expression})[key].values == parameter.values


def test_numbers_are_short_and_never_outside() -> None:
    parameter = Parameter("optimizer.lr", "", low=0.12345678, high=0.12345699)
    assert parameter.text(0.12345678) == "0.12345678"
    assert Parameter("optimizer.lr", "", low=0, high=1).text(1 / 3) == "0.333333"


def test_groups_come_first() -> None:
    space, _ = read_space({"optimizer.lr": "0.1,1", "optimizer": "sgd,adam"}, [])
    params = {"optimizer.lr": "0.1", "optimizer": "adam"}
    assert settings_of(params, space) == ["optimizer=adam", "optimizer.lr=0.1"]


@pytest.mark.parametrize(
    ("key", "expression", "expected"),
    [
        ("optimizer.lr", "0.1", "expected choice(a,b), range"),
        ("optimizer.lr", "interval(1,0.1)", "expected the lower end first"),
        ("optimizer.lr", "tag(log,interval(0,1))", "a logarithmic interval starts above 0"),
        ("optimizer.lr", "tag(lg,interval(0.1,1))", "the tag lg has no meaning here; expected log"),
        ("optimizer.lr", "interval(-1,1)", "optimizer.lr=-1: expected a number above 0"),
        ("optimizer.lrr", "0.1,1", "did you mean 'optimizer.lr'"),
        ("train.batch_size", "interval(1,9)", "write int(interval(...))"),
        ("model", "resnet18,resnet19", "did you mean 'resnet18'"),
        ("seed", "1,1", "holds a value twice"),
        ("model", "glob(x*)", "stands for no value at all"),
        ("name", "a,b", "cannot be searched"),
        ("model", "shuffle(resnet18,vgg11)", "has another order each time"),
        ("train.batch_size", "shuffle(range(8,64,8))", "has another order each time"),
    ],
)
def test_faulty_expressions_are_named(key: str, expression: str, expected: str) -> None:
    _, problems = read_space({key: expression}, [])
    assert len(problems) == 1
    assert expected in problems[0]


@pytest.mark.parametrize(
    ("overrides", "evaluations"),
    [
        (["train.epochs=2", "train.eval_every=0.5ep"], 4),
        (["train.epochs=1,3"], 3),  # the most that a trial has
        (["train.steps=100", "train.eval_every=30st"], 4),
        (["dataset=image_folder", "dataset.root=."], None),  # not known before the pictures are seen
    ],
)
def test_the_number_of_evaluations_is_known_beforehand(overrides: list[str], evaluations: int | None) -> None:
    assert request("optimizer.momentum=0.8,0.9", *overrides).evaluations == evaluations


def request(*argv: str) -> Request:
    return read_request(Invocation("sweep", overrides=("sweep.name=s", *argv)))


def test_the_command_line_takes_the_place_of_the_file() -> None:
    typed = ("sweep=lr", "optimizer.weight_decay=0", "optimizer.lr=0.1,1", "train.epochs=1")
    found = read_request(Invocation("sweep", overrides=typed))
    assert {key: parameter.values for key, parameter in found.space.items()} == {"optimizer.lr": ("0.1", "1")}
    assert found.overrides == ("optimizer=sgd", "optimizer.weight_decay=0", "train.epochs=1")
    assert (found.name, str(found.folder)) == ("lr", "outputs/sweeps/lr")
    assert found.trials == 30


def test_a_search_for_the_lowest_loss_keeps_the_model_with_the_lowest_loss() -> None:
    assert request("seed=1,2", "sweep.metric=val.loss").base.checkpoint.metric == "loss"
    assert request("seed=1,2", "sweep.metric=val.macro_f1").base.checkpoint.metric == "macro_f1"
    kept = request("seed=1,2", "sweep.metric=val.loss", "checkpoint.metric=accuracy")
    assert kept.base.checkpoint.metric == "accuracy"


@pytest.mark.parametrize(("wanted", "trials"), [([], 6), (["sweep.trials=4"], 4), (["sweep.trials=9"], 6)])
def test_a_grid_has_as_many_trials_as_points(wanted: list[str], trials: int) -> None:
    assert request("sweep.sampler=grid", "seed=range(0,3)", "optimizer.lr=1,2", *wanted).trials == trials


def test_draws_depend_on_the_seed_and_on_how_many_there_were() -> None:
    parameter = one("optimizer.lr", "interval(0.1,1)")

    def first(seed: int, drawn: int) -> float:
        study = optuna.create_study(sampler=build_sampler("random", seed, drawn))
        return float(study.ask({"optimizer.lr": parameter.distribution()}).params["optimizer.lr"])

    assert first(0, 0) == first(0, 0)
    assert len({first(0, 0), first(0, 1), first(1, 0)}) == 3
