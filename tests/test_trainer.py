"""What training does: the golden run, budgets, divergence, memory, evaluation and files."""

import csv
import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from conftest import QUICK, merged, records
from safetensors import safe_open
from test_no_synchronisation import fp32_on, trainer_on
from torch import nn

from imclass.config.metric import METRICS
from imclass.config.schema import Config, ModelConfig, TrainConfig
from imclass.data.dataset import Data, Split
from imclass.errors import UserError
from imclass.evaluation.metrics import Result
from imclass.machine.device import Device
from imclass.models.speednet import SpeedNet
from imclass.runs.checkpoint import load_checkpoint, read_checkpoint
from imclass.training.build import build_network
from imclass.training.divergence import CollapseWatch
from imclass.training.losses import build_loss, loss_of_guessing
from imclass.training.progress import Stopwatch
from imclass.training.step import Learner

ISO = ["augment=none", "dataset.synthetic.train=48", "train.batch_size=12", "train.steps=3"]
ISO += ["train.epochs=null", "train.log_every=1st"]


def test_a_run_leaves_what_the_design_says(train) -> None:
    run = train("full", "train.ema=0.9", "train.grad_clip=1.0", "logger.plots=true")
    names = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file() and "events" not in p.name}
    assert names == {
        "best.safetensors",
        "checkpoints/best.pt",
        "checkpoints/last.pt",
        "checkpoints/previous.pt",
        "config.yaml",
        "evaluation.json",
        "metrics.csv",
        "metrics.jsonl",
        "plots/calibration.png",
        "plots/classes.png",
        "plots/confusion_matrix.png",
        "plots/curves.png",
        "plots/mistakes.png",
        "plots/predictions.png",
        "plots/samples.png",
        "provenance.json",
        "report.html",
        "summary.json",
        "train.log",
    }
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert (summary["step"], summary["epoch"], summary["run"]) == (18, 2.0, "full")
    assert set(summary["best"]) == {"step", "epoch", *METRICS}
    assert set(summary["seconds"]) == {"total", "train", "evaluate"}
    assert summary["seconds"]["total"] >= summary["seconds"]["train"] + summary["seconds"]["evaluate"]
    assert summary["images_per_second"] == pytest.approx(18 * 16 / summary["seconds"]["train"])
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["train"]["ema"] == 0.9
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["threads"] == 1
    assert len(provenance["data_fingerprint"]) == 64
    assert torch.__version__.startswith(provenance["versions"]["torch"])
    assert (run / "plots/curves.png").read_bytes().startswith(b"\x89PNG")
    assert "\x1b" not in (run / "train.log").read_text()


def test_metrics_have_one_line_per_point_and_one_row_per_evaluation(run) -> None:
    lines = records(run)
    assert [(r["split"], r["step"]) for r in lines] == [
        *[("train", s) for s in (3, 6, 9)],
        ("val", 9),
        *[("train", s) for s in (12, 15, 18)],
        ("val", 18),
        ("test", 18),
    ]
    assert all({"step", "epoch", "split", "loss", "accuracy"} <= set(r) for r in lines)
    assert all({"lr", "grad_norm"} <= set(r) for r in lines if r["split"] == "train")
    assert all(0 <= r["accuracy"] <= 1 for r in lines)
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["9", "18"]
    first = [r["loss"] for r in lines if r["split"] == "train" and r["step"] <= 9]
    assert float(rows[0]["train_loss"]) == pytest.approx(sum(first) / 3)
    assert float(rows[1]["val_accuracy"]) == lines[-2]["accuracy"]


def test_the_test_figure_is_that_of_the_best_weights_as_exported(run) -> None:
    summary = json.loads((run / "summary.json").read_text())
    best = read_checkpoint(run / "checkpoints/best.pt")
    assert best["about"]["classes"] == ["class0", "class1", "class2", "class3"]
    assert best["about"]["shape"] == [1, 16, 16]
    with safe_open(run / "best.safetensors", "pt") as file:
        assert set(file.keys()) == set(best["model"])
        assert all(torch.equal(file.get_tensor(k), best["model"][k]) for k in file.keys())  # noqa: SIM118
        assert json.loads(file.metadata()["accuracy"]) == summary["best"]["accuracy"]
    assert (run / "best.safetensors").stat().st_mode == (run / "summary.json").stat().st_mode
    vals = records(run, split="val")
    assert summary["best"]["accuracy"] == max(r["accuracy"] for r in vals)
    assert summary["val"]["accuracy"] == vals[-1]["accuracy"]


def test_golden_run(run, train) -> None:
    """The same seed gives the same figures, another seed others; on noise with patterns it learns."""
    again, other = train("again"), train("other", "seed=1")
    assert records(run) == records(again)
    assert records(run) != records(other)
    weights = [read_checkpoint(r / "checkpoints/last.pt")["model"] for r in (run, again)]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    losses = [r["loss"] for r in records(run, split="train")]
    assert losses[0] == pytest.approx(math.log(4), abs=0.35)  # 4 classes, nothing learned yet
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("overrides", "steps", "evaluations"),
    [
        (["train.epochs=0.5"], 4, [4]),
        (["train.epochs=1.5"], 14, [9, 14]),
        (["train.epochs=null", "train.steps=7"], 7, [7]),
        (["train.eval_every=4st"], 18, [4, 8, 12, 16, 18]),
        (["train.eval_every=0.5ep", "train.epochs=1"], 9, [4, 8, 9]),
    ],
)
def test_length_and_evaluations(train, overrides: list[str], steps: int, evaluations: list[int]) -> None:
    run = train("length", *overrides)
    assert json.loads((run / "summary.json").read_text())["step"] == steps
    assert [r["step"] for r in records(run, split="val")] == evaluations


def test_early_stopping_ends_when_nothing_gets_better(train) -> None:
    run = train("stop", "train.epochs=50", "train.early_stopping=2", "optimizer.lr=1e-12", "augment=none")
    summary = json.loads((run / "summary.json").read_text())
    assert summary["step"] == 27  # the first evaluation is the best, then two that are not better
    assert "no better model" in summary["stopped"]
    assert summary["status"] == "finished"


def test_a_time_budget_ends_training_and_the_test_follows(train) -> None:
    run = train("budget", "train.epochs=10000", "train.max_time=1s")
    summary = json.loads((run / "summary.json").read_text())
    assert 0 < summary["step"] < 90_000
    assert "max_time" in summary["stopped"]
    assert summary["test"]["accuracy"] >= 0


def test_best_by_loss_or_by_accuracy(train) -> None:
    for metric, pick in (("loss", min), ("accuracy", max)):
        run = train(f"by_{metric}", f"checkpoint.metric={metric}", "train.epochs=4")
        best = json.loads((run / "summary.json").read_text())["best"]
        assert best[metric] == pick(r[metric] for r in records(run, split="val"))


@pytest.mark.fault("C6")
def test_divergence_is_named_and_keeps_the_last_finite_checkpoint(imclass, train, tmp_path: Path) -> None:
    run = train("diverging", "optimizer.lr=1e30", "optimizer.momentum=0", "optimizer.nesterov=false", code=3)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "diverged"
    log = (run / "train.log").read_text()
    assert "diverged: training diverged" in log
    assert "batch" in log
    for path in (run / "checkpoints").glob("*.pt"):
        assert all(torch.isfinite(t).all() for t in read_checkpoint(path)["model"].values())


@pytest.mark.parametrize("loss", [[], ["train.class_weights=[1,9,3,1]", "train.focal_gamma=1"]])
def test_micro_batches_give_the_gradients_of_the_whole(train, loss: list[str]) -> None:
    """Without batch norm, parts of 5, 5 and 2 images add up to the batch of 12."""
    whole, parts = train("whole", *ISO, *loss), train("parts", *ISO, *loss, "device.micro_batch=5")
    a, b = (read_checkpoint(r / "checkpoints/last.pt")["model"] for r in (whole, parts))
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-6)
    for x, y in zip(records(whole), records(parts), strict=True):
        assert x["loss"] == pytest.approx(y["loss"], rel=1e-5)
        assert x["accuracy"] == y["accuracy"]


def test_running_out_of_memory_splits_the_batch_and_goes_on(train, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = train("enough", *ISO)

    def forward(self, images):
        if len(images) > 4 and torch.is_grad_enabled():
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return original(self, images)

    from torch.nn import Sequential

    original = Sequential.forward
    monkeypatch.setattr(Sequential, "forward", forward)
    run = train("little", *ISO)
    log = (run / "train.log").read_text()
    assert "parts of 6 images" in log
    assert "parts of 3 images" in log
    for x, y in zip(records(run, split="train"), records(expected, split="train"), strict=True):
        assert x["loss"] == pytest.approx(y["loss"], rel=1e-5)


@pytest.mark.parametrize(("norm", "least"), [("none", 1), ("batch", 2)])
def test_no_memory_for_the_smallest_batch_is_one_line(
    imclass, monkeypatch: pytest.MonkeyPatch, norm: str, least: int
) -> None:
    def forward(self, images):
        raise MemoryError

    model = [
        "model=vgg10_keras" if norm == "none" else "model=resnet18_d2l",
        "dataset.synthetic.shape=[1,32,32]",
    ]
    target = "torch.nn.Sequential.forward"

    monkeypatch.setattr("imclass.models.check_fits", lambda *arguments: None)
    monkeypatch.setattr("imclass.training.lifecycle.banner", lambda job: "")
    monkeypatch.setattr(target, forward)
    outcome = imclass("train", "name=none", *merged(QUICK, model))
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert f"out of memory with {least} images at a time" in outcome.err


def test_cuda_graphs_split_no_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as asked, nor as a run that ran out of memory had to."""
    monkeypatch.setattr(Device, "compile_if_wanted", lambda *_: None)
    trainer = trainer_on(dataclasses.replace(fp32_on("cpu"), compile="cuda_graphs"))
    trainer.train_step()
    trainer.learner.micro_batch = 8
    with pytest.raises(UserError, match="cannot add up the gradients of parts of 8 images"):
        trainer.train_step()


@pytest.mark.parametrize("setting", ["train.batch_size=1", "device.micro_batch=1"])
def test_batch_norm_of_one_image_is_refused(imclass, tmp_path: Path, setting: str) -> None:
    outcome = imclass("train", *merged(QUICK, ["model=resnet18", setting]))
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert f"{setting}: resnet18 has batch norm, which needs at least 2 images" in outcome.err
    assert not (tmp_path / "outputs").exists()


def test_a_batch_of_one_is_fine_without_batch_norm(train) -> None:
    run = train("one", "train.batch_size=1", "train.epochs=null", "train.steps=3")
    assert json.loads((run / "summary.json").read_text())["step"] == 3


def test_other_errors_are_not_taken_for_missing_memory(train, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Device) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(Device, "autocast", fail)
    with pytest.raises(RuntimeError, match="something else"):
        train("bug")


def test_gradients_are_clipped_to_the_norm(train) -> None:
    """One plain SGD step at rate 1 moves the weights by the gradient, which is as long as its bound."""
    plain = "optimizer.lr=1", "optimizer.momentum=0", "optimizer.nesterov=false", "optimizer.weight_decay=0"
    one = *plain, "scheduler=constant", "train.epochs=null", "train.log_every=1st"
    first, second = (
        train("one", *one, "train.steps=1", "train.grad_clip=0.01"),
        train("two", *one, "train.steps=2", "train.grad_clip=0.01"),
    )
    a, b = (read_checkpoint(r / "checkpoints/last.pt")["model"] for r in (first, second))
    moved = sum((a[k] - b[k]).square().sum() for k in a).sqrt()
    assert moved.item() == pytest.approx(0.01, rel=1e-3)
    assert records(second, split="train")[-1]["grad_norm"] > 0.01  # logged before clipping


def test_the_norm_of_the_gradients_is_known_at_each_logged_point(train) -> None:
    """Without clipping it is measured only there: at log points, before evaluations and at the end."""
    length = "train.epochs=null", "train.steps=8", "train.eval_every=5st"
    each, some = (train(every, *length, f"train.log_every={every}") for every in ("1st", "3st"))
    norms, known = ({r["step"]: r["grad_norm"] for r in records(run, split="train")} for run in (each, some))
    assert sorted(known) == [3, 5, 6, 8]
    assert known == {step: norms[step] for step in known}


def diverge_at_step_14(monkeypatch: pytest.MonkeyPatch) -> None:
    backward = Learner.backward

    def diverging(self: Learner, images, targets, step: int):
        loss, logits = backward(self, images, targets, step)
        return (loss * math.inf if step == 13 else loss), logits

    monkeypatch.setattr(Learner, "backward", diverging)


@pytest.mark.fault("C6")
def test_the_command_that_a_diverged_run_prints_replays_it(imclass, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the checkpoint before, to the same step, with every step logged."""
    diverge_at_step_14(monkeypatch)
    outcome = imclass("train", "name=run", *merged(QUICK, ["train.log_every=1ep"]))
    assert outcome.code == 3
    assert "not finite at step 14 (epoch 2, batch 5, lr " in outcome.err
    assert "the checkpoint of step 9 is kept" in outcome.err
    command = outcome.err.strip().rpartition("with every step logged: imclass ")[2].split()
    assert command == ["train", "resume=outputs/run", "train.log_every=1st"]
    again = imclass(*command)
    assert (again.code, again.err) == (3, outcome.err)
    steps = [point["step"] for point in records(Path("outputs/run"), split="train")]
    assert steps == [9, 10, 11, 12, 13, 14]


@pytest.mark.fault("C6")
def test_a_diverged_run_keeps_its_best_model(imclass, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which may be newer than the last checkpoint, where saving is dear."""
    monkeypatch.setattr(Stopwatch, "saving_is_cheap", False)
    diverge_at_step_14(monkeypatch)
    assert imclass("train", "name=run", *merged(QUICK, ["checkpoint.every=null"])).code == 3
    (best,) = Path("outputs/run/checkpoints").iterdir()
    assert load_checkpoint(best)[0]["step"] == 9


def test_by_default_saving_takes_two_percent_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """After evaluations, and every minute between them."""
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    watch = Stopwatch()
    assert watch.saving_is_cheap  # what it takes is not known
    with watch.saving():
        now += 4.0
    now += 199.0
    assert not watch.saving_is_cheap
    now += 1.0
    assert watch.saving_is_cheap
    assert watch.since_save == 200.0


def test_a_loss_back_at_guessing_is_warned_about_once(train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Learned in epoch 1, guessed from epoch 2 on; a session that resumes knows of the warning."""
    backward = Learner.backward

    def collapsing(self: Learner, images, targets, step: int):
        loss, logits = backward(self, images, targets, step)
        return torch.full_like(loss, 0.5 if step < 9 else math.log(4)), logits

    monkeypatch.setattr(Learner, "backward", collapsing)
    run = train("dead", "train.epochs=3")
    warning = "warning: the training loss is back at that of guessing, 1.386, for 2 epochs: try a lower "
    warning += "optimizer.lr, or train.grad_clip=1; the best model so far, of epoch 2, is kept\n"
    log = (run / "train.log").read_text()
    assert warning in log
    assert log.index("step 18 ") < log.index(warning) < log.index("step 27 ")
    train("dead", "train.epochs=4")
    assert (run / "train.log").read_text().count("back at that of guessing") == 1


def test_only_what_had_learned_collapses() -> None:
    for losses, warned in (
        ([2.0, 1.6, 2.0], None),  # never clearly below
        ([2.0, 1.0, 1.9, 1.9], None),  # not quite back
        ([1.0, 3.0, 1.0, 2.0], None),  # recovers
        ([1.0, 3.0, 2.0, 1.0, 2.0, 2.0], 2),
    ):
        watch = CollapseWatch(2.0, images=20)
        points = [(loss, part) for loss in losses for part in (15, 5)]
        said = [number // 2 for number, point in enumerate(points) if watch.observe(*point)]
        assert said == [warned] * (warned is not None)


def test_the_loss_of_guessing_is_the_least_of_constant_predictions() -> None:
    shares = torch.tensor([0.5, 0.3, 0.2])
    even = [1 / (3 * share) for share in shares.tolist()]
    for config, weights, logits in (
        (TrainConfig(), None, shares.log()),
        (TrainConfig(label_smoothing=0.1), None, (0.9 * shares + 0.1 / 3).log()),
        (TrainConfig(), even, torch.zeros(3)),
        (TrainConfig(label_smoothing=0.1, focal_gamma=2.0), even, torch.zeros(3)),
    ):
        loss = build_loss(config, weights)(logits[None], shares[None])
        assert loss_of_guessing(config, [5, 3, 2], weights) == pytest.approx(float(loss), rel=1e-5)


@pytest.mark.fault("C6")
def test_a_validation_loss_that_is_not_finite_is_never_the_best(
    train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "imclass.training.build.evaluate", lambda model, loader, device: Result(math.nan, 0.9, 16)
    )
    run = train("notfinite", code=3)
    assert not list((run / "checkpoints").glob("*.pt"))
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["status"], summary["best"]) == ("diverged", None)


def test_the_suggested_command_runs(imclass, train) -> None:
    for name, length in (
        ("by_steps", ["train.steps=3", "train.epochs=null"]),
        ("by_epochs", ["train.epochs=0.5"]),
    ):
        run = train(name, *length)
        done = json.loads((run / "summary.json").read_text())["step"]
        line = next(x for x in (run / "train.log").read_text().splitlines() if "train it longer" in x)
        outcome = imclass(*line.split("imclass ")[1].split())
        assert outcome.code == 0, outcome.err
        assert json.loads((run / "summary.json").read_text())["step"] > done


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["augment.cutout=40"], "augment.cutout=40: expected at most 15"),
        (["augment.crop=16", "augment.crop_padding=reflect"], "augment.crop=16: expected at most 15"),
        (
            ["augment.randaugment=2", "dataset.synthetic.shape=[2,16,16]"],
            "augment.randaugment: needs 1 or 3 channels, not 2",
        ),
        (["device.precision=fp16", "device.type=auto"], "device.precision=fp16: needs a GPU"),
    ],
)
def test_what_only_the_data_or_the_device_can_tell(imclass, tmp_path: Path, typed, expected: str) -> None:
    outcome = imclass("train", *merged(QUICK, typed))
    assert outcome.code == 2
    assert expected in outcome.err
    assert not (tmp_path / "outputs").exists()


def test_weights_of_an_earlier_run_are_where_training_starts(run, train) -> None:
    still = "optimizer.lr=1e-12", "augment=none"
    second = train("second", f"model.weights={run}/checkpoints/best.pt", *still)
    best = json.loads((run / "summary.json").read_text())["best"]
    assert records(second, split="val")[0]["accuracy"] == best["accuracy"]
    third = train("third", f"model.weights={run}/best.safetensors", *still)
    assert records(third) == records(second)


def test_damaged_weights_of_an_earlier_run_are_refused(imclass, run) -> None:
    best = run / "checkpoints/best.pt"
    data = bytearray(best.read_bytes())
    data[len(data) // 2] ^= 1
    best.write_bytes(data)
    outcome = imclass("train", *merged(QUICK, [f"model.weights={best}"]))
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "best.pt is damaged" in outcome.err


def test_model_summary_prints_every_layer(imclass, train) -> None:
    run = train("layers", "model.summary=true", "train.epochs=0.2")
    log = (run / "train.log").read_text()
    assert "6x16x16" in log
    assert "Conv2d" in log


def test_header_says_what_was_chosen_and_why(train) -> None:
    log = (train("header", "device.precision=auto", "train.epochs=0.2") / "train.log").read_text()
    for text in ("lenet", "parameters", "multiply-adds", "5x5 convolution, stride 1", "4 classes"):
        assert text in log
    assert "144 train, 16 val, 64 test" in log
    assert "precision:" in log


def test_an_evaluation_tells_the_training_loss_of_metrics_csv(train) -> None:
    run = train("told", "train.epochs=1", "train.log_every=2st")
    with (run / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    told = f"train loss {float(row['train_loss']):.4f}  val loss {float(row['val_loss']):.4f}, "
    assert told in (run / "train.log").read_text()


def test_quiet_prints_the_last_block_only(imclass) -> None:
    outcome = imclass("train", *QUICK, "name=q", "logger.quiet=true")
    assert outcome.code == 0
    assert outcome.out.lstrip().startswith("best model")
    assert "parameters" not in outcome.out


def test_without_a_terminal_lines_of_progress_are_few_and_all_are_plain(imclass, monkeypatch) -> None:
    monkeypatch.setattr("imclass.runs.console.PLAIN_SECONDS", 1000.0)  # however slow the machine is
    monkeypatch.setattr("imclass.runs.console.EVALUATIONS", 2)  # on a terminal
    every_step = merged(QUICK, ["train.log_every=1st", "train.eval_every=3st"])
    outcome = imclass("train", "name=plain", *every_step)
    assert outcome.code == 0
    assert "\r" not in outcome.out + outcome.err
    assert "\x1b" not in outcome.out + outcome.err
    logged = [line for line in Path("outputs/plain/train.log").read_text().splitlines() if "val loss" in line]
    shown = [line for line in outcome.out.splitlines() if "val loss" in line]
    assert [line.split()[3] for line in logged] == ["3", "6", "9", "12", "15", "18"]
    assert shown == logged
    assert outcome.out.count("img/s") == 1  # the first of 18 steps


def test_a_terminal_shows_one_in_so_many_evaluations_and_the_last(imclass, monkeypatch) -> None:
    monkeypatch.setattr("imclass.runs.console.EVALUATIONS", 2)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    outcome = imclass("train", "name=thin", *merged(QUICK, ["train.eval_every=4st"]))
    assert outcome.code == 0
    lines = [line for line in outcome.out.splitlines() if "val loss" in line or "evaluations" in line]
    assert lines[0] == "shown below: 1 of 3 evaluations; metrics.csv has all 5"
    assert [line.split()[3] for line in lines[1:]] == ["12", "18"]  # after 4, 8, 12, 16 and 18 steps
    assert Path("outputs/thin/train.log").read_text().count("val loss") == 5
    assert "shown below" not in Path("outputs/thin/train.log").read_text()


def test_lower_resolutions_until_their_times(train, monkeypatch: pytest.MonkeyPatch) -> None:
    """18 steps on images of 16x16: the first 6 at 10x10, then to half of the training at 12x12."""
    seen, backward = [], Learner.backward

    def spy(learner: Learner, images: torch.Tensor, *rest: object) -> object:
        seen.append(tuple(images.shape[2:]))
        return backward(learner, images, *rest)

    monkeypatch.setattr(Learner, "backward", spy)
    train("low", "model=speednet", "train.resolutions=[10:6st,12:50%]")
    assert seen == 6 * [(10, 10)] + 3 * [(12, 12)] + 9 * [(16, 16)]


def test_lower_resolutions_that_cannot_be(imclass) -> None:
    model = "model=vgg10_keras", "dataset.synthetic.shape=[1,64,64]"
    for wrong, expected in {
        "64:6st": "expected below the 64 pixels",
        "32:6st": "vgg10_keras does not work on images of 32x32",
    }.items():
        outcome = imclass("train", "name=low", *merged(QUICK, [*model, f"train.resolutions=[{wrong}]"]))
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert outcome.err.startswith(f"imclass: train.resolutions: {wrong}: {expected}")
    wide = "dataset.synthetic.shape=[1,16,24]", "train.resolutions=[12:6st]"
    outcome = imclass("train", "name=low", *merged(QUICK, [*wide]))
    expected = "expected square images, not 16x24; dataset.resize=16 makes them square"
    assert (outcome.code, outcome.err) == (2, f"imclass: train.resolutions: {expected}\n")
    assert not Path("outputs").exists()


class Spare(nn.Module):
    """A model with a layer that it does not use."""

    def __init__(self, inputs: int, classes: int):
        super().__init__()
        self.used, self.spare = nn.Linear(inputs, classes), nn.Linear(inputs, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.used(images.flatten(1))


def test_a_layer_that_is_not_used_does_not_prevent_a_resume(train, imclass, monkeypatch) -> None:
    """It has no gradient, and so no state in the optimizer."""
    point = SimpleNamespace(
        name="spare",
        value="tests:Spare",
        load=lambda: lambda config, channels, classes, size: Spare(channels * size**2, classes),
    )
    monkeypatch.setattr(
        "imclass.config.groups.entry_points", lambda group: [point] if group == "imclass.models" else []
    )
    own = "model.name=spare", "optimizer.momentum=0.9"
    run = train("spare", *own)
    assert imclass("verify", str(run)).code == 0
    train("spare", *own, "train.epochs=3")
    assert json.loads((run / "summary.json").read_text())["step"] == 27


def test_a_model_starts_from_images_of_all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a folder stand class by class."""
    labels = torch.arange(10).repeat_interleave(200)
    split = Split(labels.byte()[:, None, None, None].expand(-1, 3, 32, 32), labels)
    data = Data(split, split, split, "", tuple("abcdefghij"), (3, 32, 32), [0.0] * 3, [1 / 255] * 3, "")
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(SpeedNet, "init_from", lambda model, images: seen.append(images))
    build_network(Config(model=ModelConfig(name="speednet")), data, resumed=False)
    assert seen[0].shape == (500, 3, 32, 32)
    assert seen[0].amax((1, 2, 3)).round().long().bincount().tolist() == [50] * 10
