"""Uneven classes: weights and focal loss, balanced drawing, figures that count every class the same."""

import csv
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from conftest import QUICK, merged, records
from hypothesis import given
from hypothesis import strategies as st
from pictures import save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from imclass.config.metric import by_class_in_words
from imclass.config.schema import AugmentConfig, Config, TrainConfig
from imclass.data.augment import Augment, blend, one_hot
from imclass.data.dataset import Data, Split
from imclass.data.loader import Images, TrainLoader
from imclass.data.order import balanced_order
from imclass.errors import ConfigError
from imclass.evaluation.evaluate import Predictions
from imclass.evaluation.metrics import Meter
from imclass.evaluation.scores import score
from imclass.machine.device import resolve_device
from imclass.machine.processes import Processes
from imclass.machine.randomness import generator
from imclass.runs.event_files import scalars_in
from imclass.runs.metrics_file import csv_table, evaluation_rows
from imclass.runs.record_schema import BEST, problem_of
from imclass.runs.tensorboard import event_files
from imclass.training.class_weights import class_weights
from imclass.training.losses import build_loss
from imclass.training.progress import Progress

COUNTS = [40, 3, 12, 5]


def logits_of(n: int, classes: int = 4) -> Tensor:
    return torch.randn(n, classes, generator=torch.Generator().manual_seed(n)).mul_(3).requires_grad_()


def labels_of(counts: Sequence[int]) -> Tensor:
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def data_of(counts: Sequence[int]) -> Data:
    labels = labels_of(counts)
    split = Split(torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8), labels)
    names = tuple(f"class{n}" for n in range(len(counts)))
    return Data(split, split, split, "", names, (1, 8, 8), [0.0], [1.0], "")


def weights_of(choice: str | list[float], counts: Sequence[int] = COUNTS, *, balance: bool = False) -> Tensor:
    config = Config()
    config.train.class_weights, config.dataset.balance = choice, balance
    weights = class_weights(config, data_of(counts))
    assert weights is not None
    return torch.tensor(weights, dtype=torch.float64)


def test_weighted_loss_is_that_of_torch_but_for_the_mean_over_images() -> None:
    weights, labels = weights_of("inverse").float(), labels_of(COUNTS)
    soft = blend(one_hot(labels, 4), 0.3)  # as mixup makes them
    loss = build_loss(TrainConfig(), weights.tolist())
    for targets in (labels, soft):
        ours, theirs = logits_of(len(targets)), logits_of(len(targets))
        got = loss(ours, targets)
        want = cross_entropy(theirs, targets, weight=weights, reduction="sum") / len(targets)
        torch.testing.assert_close(got, want)
        for value in (got, want):
            value.backward()
        torch.testing.assert_close(ours.grad, theirs.grad)
    one = labels == 1  # torch divides by the weights: the same where all are equal
    torch.testing.assert_close(
        loss(logits_of(60)[one], labels[one]) / weights[1],
        cross_entropy(logits_of(60)[one], labels[one], weight=weights),
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("choice", ["auto", "inverse", [1.0, 9.0, 3.0, 0.5]])
def test_weights_keep_the_scale_of_the_loss(choice: str | list[float], smoothing: float) -> None:
    """A model that knows nothing has the loss log(classes), with or without weights, smoothing or mixup."""
    loss = build_loss(TrainConfig(label_smoothing=smoothing), weights_of(choice).tolist())
    labels = labels_of(COUNTS)
    ring = blend(one_hot(torch.cat([labels[-1:], labels]), 4), 0.3)
    for targets in (labels, ring):
        assert loss(torch.zeros(60, 4), targets).item() == pytest.approx(math.log(4), rel=1e-5)


def test_smoothing_spreads_the_weight_of_an_image_evenly() -> None:
    weights, logits, labels = weights_of("inverse").float(), logits_of(60), labels_of(COUNTS)
    each = cross_entropy(logits, labels, label_smoothing=0.2, reduction="none")
    expected = (weights[labels] * each).mean()
    got = build_loss(TrainConfig(label_smoothing=0.2), weights.tolist())(logits, labels)
    torch.testing.assert_close(got, expected)


def test_without_weights_and_gamma_the_loss_is_torchs_own() -> None:
    loss = build_loss(TrainConfig(label_smoothing=0.1))
    assert type(loss) is nn.CrossEntropyLoss
    plain = build_loss(TrainConfig(label_smoothing=0.1, focal_gamma=0.0))
    torch.testing.assert_close(
        plain(logits_of(60), labels_of(COUNTS)), loss(logits_of(60), labels_of(COUNTS))
    )


@given(gamma=st.floats(0, 5), seed=st.integers(0, 99))
def test_focal_loss_follows_the_formula_of_its_paper(gamma: float, seed: int) -> None:
    logits, labels = logits_of(20 + seed), torch.arange(20 + seed) % 4
    weights = [0.5, 1.0, 2.0, 4.0]
    terms = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        p = math.exp(row[label]) / sum(map(math.exp, row))
        terms.append(-weights[label] * (1 - p) ** gamma * math.log(p))
    got = build_loss(TrainConfig(focal_gamma=gamma), weights)(logits, labels)
    assert got.item() == pytest.approx(sum(terms) / len(terms), rel=1e-4)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_loss_of_a_certain_prediction_has_a_finite_gradient(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    build_loss(TrainConfig(focal_gamma=gamma))(logits, torch.tensor([0, 0])).backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
    assert logits.grad[1, 0] < 0


def test_weights_by_frequency_and_by_effective_number() -> None:
    inverse = weights_of("inverse")
    counts = torch.tensor(COUNTS, dtype=torch.float64)
    torch.testing.assert_close(inverse, 60 / (4 * counts))  # the formula of scikit-learn's "balanced"
    large = [5, 100, 10_000, 100_000]
    effective = torch.tensor([sum(0.999**i for i in range(n)) for n in large], dtype=torch.float64)
    auto = weights_of("auto", large)
    torch.testing.assert_close(auto * effective, (auto * effective)[0].expand(4))
    assert auto[2] / auto[3] == pytest.approx(1, abs=1e-3)


def test_weights_have_a_mean_of_one_over_what_is_drawn() -> None:
    mine = [1.0, 9.0, 3.0, 0.5]
    drawn = weights_of(mine)
    torch.testing.assert_close(drawn / drawn[0], torch.tensor(mine, dtype=torch.float64))
    assert float((drawn * torch.tensor(COUNTS)).sum() / 60) == pytest.approx(1)
    assert float(weights_of(mine, balance=True).mean()) == pytest.approx(1)
    assert weights_of("auto", [4, 0, 4]).isfinite().all()
    with pytest.raises(ConfigError, match="class_weights: 2 numbers for 4 classes: class0, class1, class2"):
        weights_of([1.0, 2.0])


@given(counts=st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(any), seed=st.integers(0, 99))
def test_balanced_drawing_shows_classes_and_their_images_equally_often(counts: list[int], seed: int) -> None:
    labels = labels_of(counts)[torch.randperm(sum(counts), generator=torch.Generator().manual_seed(seed))]
    order = balanced_order(labels, torch.Generator().manual_seed(seed))
    assert len(order) == len(labels)
    of_classes = torch.bincount(labels[order], minlength=len(counts))
    present = torch.tensor(counts) > 0
    assert of_classes[present].max() - of_classes[present].min() <= 1
    assert not of_classes[~present].any()
    times = torch.bincount(order, minlength=len(labels))
    for label in present.nonzero().flatten():
        own = times[labels == label]
        assert own.max() - own.min() <= 1


def test_balanced_drawing_is_a_function_of_seed_and_epoch() -> None:
    labels = labels_of([200, 10, 50])
    places = [(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    orders = {place: balanced_order(labels, generator(place[0], "order", place[1])) for place in places}
    assert torch.equal(orders[1, 1], balanced_order(labels, generator(1, "order", 1)))
    assert len({tuple(order.tolist()) for order in orders.values()}) == 4
    shown = [set(order[order < 200].tolist()) for order in (orders[0, 0], orders[0, 1])]
    assert len(shown[0] | shown[1]) > len(shown[0])  # another part of the large class


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_share_the_batches_of_one_process(size: int) -> None:
    def loader(processes: Processes) -> TrainLoader:
        config = Config()
        config.device.type, config.device.precision, config.device.threads = "cpu", "fp32", 1
        device = resolve_device(config.device, steps=1, processes=processes)
        labels = labels_of([30, 4, 9])
        pixels = labels.byte()[:, None, None, None].expand(-1, 1, 8, 8).contiguous()
        images = Images(Split(pixels, labels), device, (8, 8), [0.0], [1.0])
        return TrainLoader(images, 10, Augment(AugmentConfig(), 3), seed=2, balance=True)

    one, *many = map(loader, (Processes(), *(Processes(rank, size) for rank in range(size))))
    for step in (0, 5, 9):
        images, labels = one.batch(step)
        assert torch.equal((images * 255).round().long()[:, 0, 0, 0], labels)
        assert torch.equal(torch.cat([part.batch(step)[1] for part in many]), labels)
    epoch = torch.cat([one.batch(step)[1] for step in range(4)])
    assert (torch.bincount(epoch) - 40 / 3).abs().max() <= 3  # 3 of 43 are dropped


@given(cut=st.integers(1, 70), seed=st.integers(0, 50))
def test_figures_by_class_are_those_of_torchmetrics(cut: int, seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    logits, labels = torch.randn(60, 6, generator=draws), labels_of(COUNTS)  # two classes have no images
    logits[torch.arange(60), labels] += 1
    meter = Meter(torch.device("cpu"), by_class=True)
    for part, own in zip(logits.split(cut), labels.split(cut), strict=True):
        meter.update(torch.tensor(0.0), part, own)
    result = meter.compute()
    macro = score(Predictions(logits, labels, result), [f"class{n}" for n in range(6)])["macro"]
    assert result.balanced_accuracy == pytest.approx(macro["recall"], abs=1e-6)
    assert result.macro_f1 == pytest.approx(macro["f1"], abs=1e-6)


def test_of_equal_figures_the_lower_loss_is_the_better() -> None:
    progress = Progress(step=1)
    best = [
        progress.record({"accuracy": accuracy, "loss": loss}, 1.0, "accuracy")
        for accuracy, loss in ((0.5, 1.0), (0.5, 1.0), (0.5, 0.9), (0.6, 2.0), (0.5, 0.1))
    ]
    assert best == [True, False, True, True, False]
    assert (progress.best["loss"], progress.waited) == (2.0, 1)


def test_figures_by_class_are_shown_where_they_say_more_than_the_accuracy() -> None:
    figures = {"accuracy": 0.9, "loss": 0.3, "balanced_accuracy": 0.9, "macro_f1": 0.89}
    assert by_class_in_words(figures) == ""
    assert by_class_in_words(figures, "macro_f1") == ", macro F1 89.00%"
    uneven = figures | {"balanced_accuracy": 0.5}
    assert by_class_in_words(uneven) == ", balanced 50.00%, macro F1 89.00%"
    assert by_class_in_words({"accuracy": 0.9, "loss": 0.3}, "macro_f1") == ""  # an older run


@pytest.fixture
def uneven(tmp_path: Path, cache: Path) -> list[str]:
    """Overrides for 60 images of class a and 4 of b, in training and test."""
    for part, name, count in (("train", "a", 60), ("train", "b", 4), ("test", "a", 20), ("test", "b", 4)):
        for index in range(count):
            save(tmp_path / f"pictures/{part}/{name}/{index}.png", (16, 16), seed=index)
    data = ["dataset=image_folder", f"dataset.root={tmp_path}/pictures", "dataset.val_split=16"]
    return [*data, "train.batch_size=8", "augment=none", "augment.crop=0"]


@pytest.fixture
def train_uneven(imclass, tmp_path: Path, uneven: list[str]):
    def run(name: str, *overrides: str) -> Path:
        base = [text for text in QUICK if not text.startswith("dataset")]
        outcome = imclass("train", f"name={name}", *merged(base, [*uneven, *overrides]))
        assert outcome.code == 0, outcome.err + outcome.out
        return tmp_path / "outputs" / name

    return run


def test_the_header_says_that_classes_are_uneven_and_what_to_type(train_uneven) -> None:
    log = (train_uneven("plain", "train.epochs=0.2") / "train.log").read_text()
    assert "classes  of 3 (b) to 45 (a) training images; to learn all, type\n" in log
    assert "dataset.balance=true or train.class_weights=auto, and to choose\n" in log
    evened = train_uneven("evened", "train.epochs=0.2", "train.class_weights=[1,3]", "dataset.balance=true")
    log = (evened / "train.log").read_text()
    assert "classes  weights in the loss: 0.5 (a) to 1.5 (b)\n" in log
    assert "classes  of 3 (b) to 45 (a) training images, drawn equally often\n" in log
    assert "to learn all" not in log


def test_even_classes_have_no_such_line(finished: Path) -> None:
    log = (finished / "train.log").read_text()
    assert "classes  " not in log
    assert "macro" not in log


def test_the_chosen_metric_is_everywhere(imclass, train_uneven) -> None:
    run = train_uneven("chosen", "checkpoint.metric=macro_f1", "train.epochs=5")
    summary, vals = json.loads((run / "summary.json").read_text()), records(run, split="val")
    best = max(vals, key=lambda record: (record["macro_f1"], -record["loss"]))
    assert summary["best"]["step"] == best["step"]
    assert summary["best"]["macro_f1"] == best["macro_f1"]
    scores = json.loads((run / "evaluation.json").read_text())
    assert summary["test"]["macro_f1"] == pytest.approx(scores["macro"]["f1"], abs=1e-6)
    assert summary["test"]["balanced_accuracy"] == pytest.approx(scores["macro"]["recall"], abs=1e-6)
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_macro_f1"]) for row in rows] == [record["macro_f1"] for record in vals]
    assert "train_macro_f1" not in rows[0]
    log = (run / "train.log").read_text()
    assert f"macro F1 {best['macro_f1']:.2%}" in log.split("best model")[1]
    events = [file.read_bytes() for file in event_files(run)]
    assert "val/macro_f1" in {scalar.tag for content in events for scalar in scalars_in(content)}
    assert all(
        any(name in content for content in events) for name in (b"best.val_macro_f1", b"test.macro_f1")
    )
    cards = re.findall('<div class="tile(.*?)">(.*?) <b>(.*?)</b>', (run / "report.html").read_text())
    shown = {name: f"{summary[name]['macro_f1']:.2%}".replace("%", " %") for name in ("test", "best")}
    assert cards[0] == (" main", "test macro F1", shown["test"])
    assert cards[1] == ("", "validation macro F1", shown["best"])
    assert [name for _, name, _ in cards].count("test accuracy") == 1
    assert imclass("verify", str(run)).code == 0


def test_a_run_from_before_there_were_figures_by_class_is_whole(imclass, run: Path) -> None:
    """Its points, its table and its summary lack them."""
    points = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for point in points:
        for name in ("macro_f1", "balanced_accuracy"):
            point.pop(name, None)
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(point)}\n" for point in points))
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    kept = [name for name in rows[0] if "macro" not in name and "balanced" not in name]
    lines = [",".join(kept), *(",".join(row[name] for name in kept) for row in rows)]
    (run / "metrics.csv").write_text("".join(f"{line}\n" for line in lines))
    summary = json.loads((run / "summary.json").read_text())
    for part in ("best", "val", "test"):
        for name in ("macro_f1", "balanced_accuracy"):
            summary[part].pop(name)
    (run / "summary.json").write_text(json.dumps(summary))
    said = imclass("verify", str(run))
    assert "metrics.csv" not in said.out and "summary.json" not in said.out
    assert imclass("report", str(run)).code == 0


def test_rows_of_older_points_leave_the_later_columns_empty() -> None:
    old = {"step": 1, "epoch": 1.0, "split": "val", "loss": 2.0, "accuracy": 0.5, "images": 4}
    new = old | {"step": 2, "balanced_accuracy": 0.25, "macro_f1": 0.125}
    header, first, second = csv_table(evaluation_rows([old, new]))
    assert dict(zip(header, first, strict=True))["val_macro_f1"] is None
    assert dict(zip(header, second, strict=True))["val_macro_f1"] == 0.125
    assert problem_of({"step": 1, "epoch": 1.0, "loss": 2.0, "accuracy": 0.5}, BEST) is None
    problem = problem_of({"step": 1, "epoch": 1.0, "loss": 2.0, "accuracy": 0.5, "macro_f1": None}, BEST)
    assert problem == "macro_f1: expected a number from 0 to 1, not null"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            "train.class_weights=atuo",
            "train.class_weights=atuo: expected auto, inverse, or a list of numbers",
        ),
        ("train.class_weights=[1,0,1,1]", "expected auto, inverse, or a list of numbers above 0"),
        ("train.class_weights=[1,2]", "train.class_weights: 2 numbers for 4 classes: class0, class1"),
        ("train.focal_gamma=-1", "train.focal_gamma=-1: expected a number of at least 0 and at most 10"),
        ("train.loss=focal", "train.loss: no such setting; did you mean 'train.focal_gamma'?"),
        ("checkpoint.metric=balanced", "did you mean 'balanced_accuracy'?"),
        ("dataset.balanced=true", "did you mean 'dataset.balance'?"),
    ],
)
def test_mistakes(imclass, tmp_path: Path, typed: str, message: str) -> None:
    outcome = imclass("train", "name=wrong", *merged(QUICK, [typed]))
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert message in outcome.err
    assert not (tmp_path / "outputs").exists()


def test_check_counts_the_classes_of_a_folder(imclass, uneven: list[str]) -> None:
    outcome = imclass("check", *uneven, "train.class_weights=[1,2,3]")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "train.class_weights: 3 numbers for 2 classes: a, b" in outcome.err


def test_weights_and_balance_are_two_cures_of_one_thing(imclass) -> None:
    outcome = imclass("check", "train.class_weights=auto", "dataset.balance=true")
    assert outcome.code == 2
    assert "both even out the classes; choose one" in outcome.err
    own = "[1,1,1,1,1,2,1,1,1,1]"
    assert imclass("check", f"train.class_weights={own}", "dataset.balance=true").code == 0
