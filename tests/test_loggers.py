"""The terminal, metrics files and TensorBoard: what is shown when, and cutting back on resume."""

import io
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from imclass.reports.plots import Picture, plot_pictures
from imclass.runs import console as consoles
from imclass.runs.console import Console
from imclass.runs.logger import RunLogger
from imclass.runs.metrics_file import MetricsFile, evaluation_rows
from imclass.runs.records import read_metrics
from imclass.runs.tensorboard import TensorBoard, cut_back

FIGURES = {"loss": 0.5, "accuracy": 0.75}


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(consoles, "time", clock)
    return clock


def test_a_closed_pipe_does_not_end_the_training_and_the_log_has_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr("sys.stdout", os.fdopen(writer, "w"))
    console = Console(tmp_path / "train.log", quiet=False)
    for word in ("one", "two"):
        console.line(word)
    console.status("three")
    console.status("four")  # too soon after the last one for the terminal
    console.close()
    sys.stdout.close()
    assert (tmp_path / "train.log").read_text().split() == ["one", "two", "three", "four"]


def test_plain_status_lines_come_at_most_every_ten_seconds(tmp_path: Path, clock: Clock, capsys) -> None:
    console = Console(tmp_path / "train.log", quiet=False)
    for second in range(35):
        clock.now = 100.0 + second
        console.status(f"at {second}")
    console.line("a warning is never held back")
    console.close()
    shown = capsys.readouterr().out.splitlines()
    assert shown == ["at 0", "at 10", "at 20", "at 30", "a warning is never held back"]
    everything = [*(f"at {second}" for second in range(35)), "a warning is never held back"]
    assert (tmp_path / "train.log").read_text().splitlines() == everything


def test_an_evaluation_that_comes_too_early_takes_the_next_lines_place(
    tmp_path: Path, clock: Clock, capsys
) -> None:
    console = Console(tmp_path / "train.log", quiet=False)
    for second in range(31):
        clock.now = 100.0 + second
        if second == 13:
            console.status("validated")
        if console.advance(second + 1, 31, 31):
            console.progress(f"at {second}", FIGURES, 1.0)
    console.close()
    shown = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert shown == ["at 0", "at 10", "validated", "at 30"]


def test_a_terminal_gets_a_bar_and_the_log_no_control_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    console = Console(tmp_path / "train.log", quiet=False)
    for step in range(1, 6):  # two epochs of three steps, the second cut short
        clock.now += 2
        assert console.advance(step, 3, 5)
        console.progress("", FIGURES, 1234.0)
    console.status("epoch 1 is done")
    console.close()
    assert "epoch 1" in err.getvalue()
    assert "epoch 2" in err.getvalue() and "2/2" in err.getvalue()
    assert "loss 0.500, acc 75.0%, 1,234 img/s" in err.getvalue()
    assert out.getvalue() == "epoch 1 is done\n"
    assert (tmp_path / "train.log").read_text() == "epoch 1 is done\n"


def test_a_terminal_of_another_encoding_does_not_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    console = Console(tmp_path / "train.log", quiet=False)
    console.line("größer")
    console.close()
    out.seek(0)
    assert out.read() == "gr??er\n"
    assert (tmp_path / "train.log").read_text(encoding="utf-8") == "größer\n"


def test_a_resumed_log_is_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    """L1: 6 points, the checkpoint after 4: the resumed run writes 5 and 6 again, each stands once."""

    def write(logger: RunLogger, steps: range) -> None:
        for step in steps:
            logger.train(step, step / 10, FIGURES, 64, lr=0.1, images_per_second=9.0, grad_norm=1.0)

    def logger(state: dict) -> RunLogger:
        return RunLogger(tmp_path, state, quiet=True)

    first = logger({})
    write(first, range(1, 5))
    state = json.loads(json.dumps(first.state_dict()))  # as plain as in a checkpoint
    write(first, range(5, 7))
    first.close()
    second = logger(state)
    write(second, range(5, 7))
    second.close()
    third = logger({})
    third.close()
    assert read_metrics(tmp_path / "metrics.jsonl") == []
    fourth = logger({})
    write(fourth, range(1, 3))
    fourth.close()
    assert [r["step"] for r in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]
    assert steps_of(tmp_path / "tensorboard", "train/loss") == [1, 2]


def test_every_step_stands_once_in_tensorboard_after_a_resume(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, fail, enabled=True)
    for step in range(4):
        board.scalars({"train/loss": 1.0}, step)
    sizes = board.sync()
    board.scalars({"train/loss": 9.0}, 4)
    board.close()
    cut_back(tmp_path, sizes)
    board = TensorBoard(tmp_path, fail, enabled=True)
    board.scalars({"train/loss": 2.0}, 4)
    board.close()
    assert steps_of(tmp_path, "train/loss") == [0, 1, 2, 3, 4]


def test_tensorboard_holds_text_images_and_one_row_of_hparams(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, fail, enabled=True)
    board.text("config", "seed: 0")
    plot_pictures([Picture(torch.zeros(1, 8, 8, dtype=torch.uint8), "x")], "title", tmp_path / "samples.png")
    board.plots([tmp_path / "samples.png"], 0)
    board.hparams({"optimizer.lr": 0.1, "dataset.mean": None}, {"best/test_accuracy": 0.9})
    board.close()
    (file,) = tmp_path.glob("events*")
    events = EventAccumulator(str(file))
    events.Reload()
    assert events.Tags()["images"] == ["plots/samples"]
    assert events.Tags()["tensors"] == ["config/text_summary"]
    plugin = events.summary_metadata["_hparams_/session_start_info"].plugin_data
    assert plugin.plugin_name == "hparams"
    assert [e.value for e in events.Scalars("best/test_accuracy")] == pytest.approx([0.9])


def test_tensorboard_shows_every_plot_of_a_run(run) -> None:
    (file,) = (run / "tensorboard").glob("events*")
    events = EventAccumulator(str(file))
    events.Reload()
    drawn = sorted(f"plots/{plot.stem}" for plot in (run / "plots").glob("*.png"))
    assert len(drawn) == 6
    assert sorted(events.Tags()["images"]) == drawn


def test_tensorboard_can_be_left_out(train) -> None:
    run = train("silent", "logger.tensorboard=false", "train.epochs=0.2")
    assert not (run / "tensorboard").exists()


def test_a_metric_that_is_not_finite_is_null_in_json(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.jsonl", 0, fail)
    metrics.write({"step": 1, "split": "train", "loss": float("nan"), "lr": 1.0})
    metrics.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["loss"] is None


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    point = {"step": 1, "epoch": 0.5, "split": "val", "images": 8, "loss": 1.0, "accuracy": 0.5}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(point) + '\n{"st')
    assert read_metrics(tmp_path / "metrics.jsonl") == [point]


def test_rows_weigh_the_points_by_their_images() -> None:
    def point(step: int, split: str, loss: float | None, images: int) -> dict:
        more = {"loss": loss, "accuracy": 0.5, "images": images, "lr": 0.1}
        return {"step": step, "epoch": step / 4, "split": split, **more}

    points = [point(2, "train", 1.0, 30), point(4, "train", 4.0, 10), point(4, "val", 2.0, 8)]
    points += [point(6, "train", None, 10), point(8, "val", 1.0, 8), point(8, "test", 1.0, 8)]
    rows = evaluation_rows(points)
    assert [(r["step"], r["train_loss"], r["val_loss"]) for r in rows] == [(4, 1.75, 2.0), (8, None, 1.0)]


def fail(warning: str) -> None:
    raise AssertionError(warning)


def steps_of(folder: Path, tag: str) -> list[int]:
    steps = []
    for file in folder.iterdir():
        events = EventAccumulator(str(file))
        events.Reload()
        if tag in events.Tags()["scalars"]:
            steps += [event.step for event in events.Scalars(tag)]
    return sorted(steps)
