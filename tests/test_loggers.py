"""The terminal, metrics files and TensorBoard: what is shown when, and cutting back on resume."""

import errno
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest
from conftest import QUICK, merged, records
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from imclass.commands.selftest.trainings import finish, overrides
from imclass.endings import provide_streams
from imclass.runs import console as consoles
from imclass.runs import metrics_file as metrics_files
from imclass.runs.console import Console
from imclass.runs.log_file import LogFile
from imclass.runs.logger import RunLogger, missing_logs
from imclass.runs.metrics_file import MetricsFile, evaluation_rows
from imclass.runs.records import read_metrics
from imclass.runs.tensorboard import EVENTS, TensorBoard, cut_back, event_files

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


@pytest.mark.fault("L3")
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
    console.status("four")
    console.close()
    sys.stdout.close()
    assert (tmp_path / "train.log").read_text().split() == ["one", "two", "three", "four"]


@pytest.mark.fault("L3")
def test_without_a_terminal_progress_waits_its_turn_and_nothing_else_does(
    tmp_path: Path, clock: Clock, capsys
) -> None:
    console = Console(tmp_path / "train.log", quiet=False)
    for second in range(35):
        clock.now = 100.0 + second
        if second in (1, 2, 13, 34):
            console.status(f"validated at {second}")
        if console.advance(second + 1, 35, 35):
            console.progress(f"at {second}", FIGURES, 1.0)
    console.line("a warning")
    console.block("the result")
    console.close()
    validated = [f"validated at {second}" for second in (1, 2, 13, 34)]
    expected = ["at 0", *validated[:2], "at 12", validated[2], "at 23", "at 33", validated[3]]
    shown = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert shown == [*expected, "a warning", "the result"]
    log = (tmp_path / "train.log").read_text().splitlines()
    assert [line.split(":")[0] for line in log] == shown


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


def test_a_terminal_gets_about_a_hundred_evaluations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for total, expected in ((1, 1), (6, 6), (100, 100), (101, 50 + 2), (588, 98 + 1)):
        out = Terminal()
        monkeypatch.setattr(sys, "stdout", out)
        console = Console(tmp_path / f"{total}.log", quiet=False)
        for number in range(1, total + 1):
            console.status(f"evaluation {number}", number, total, is_last=number == total)
        console.close()
        lines = out.getvalue().splitlines()  # with the one that says how many are left out
        assert (len(lines), lines[-1]) == (expected, f"evaluation {total}")
        assert (tmp_path / f"{total}.log").read_text().count("\n") == total


@pytest.mark.fault("L3")
@pytest.mark.parametrize("hours", [1, 10, 100])
def test_a_log_of_a_hundred_epochs_stays_below_100_kb(
    tmp_path: Path, clock: Clock, capsys, hours: int
) -> None:
    console = Console(tmp_path / "train.log", quiet=False)
    seconds = hours * 36  # of an epoch
    for epoch in range(100):
        for second in range(0, seconds, 2):
            clock.now = 100.0 + epoch * seconds + second
            if console.advance(1, 391, 39_100):
                console.progress(f"epoch {epoch}.00, step 39,100 of 39,100", FIGURES, 1234.0)
        console.status(f"epoch {epoch}.00  step 39,100  train loss 0.1234  val loss 0.1234, accuracy 12.34%")
    console.close()
    log = (tmp_path / "train.log").read_text()
    assert log.count("\n") >= 200 and len(log) < 100_000
    assert len(capsys.readouterr().out) < 100_000


@pytest.mark.fault("L3")
def test_a_training_without_any_stream_ends_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """imclass train <&- >&- 2>&-: no log gets a descriptor that others take for a stream."""
    monkeypatch.chdir(tmp_path)
    finish(overrides("run", "train.epochs=0.5"), close_streams)
    run = tmp_path / "outputs/run"
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"
    assert len(read_metrics(run / "metrics.jsonl")) == len((run / "metrics.jsonl").read_text().splitlines())


def close_streams() -> None:
    """Begin as a process that the shell started with its streams closed."""
    for number in range(3):
        os.close(number)
    provide_streams()


@pytest.mark.fault("L3")
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


@pytest.mark.fault("L1")
def test_a_resumed_log_is_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    """6 points, the checkpoint after 4: the resumed run writes 5 and 6 again, each stands once."""

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
    assert steps_of(tmp_path, "train/loss") == [1, 2]


@pytest.mark.fault("L1")
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
    files = [tmp_path / "wide.png", tmp_path / "high.png"]
    for file, size, colour in zip(files, ((40, 10), (20, 30)), ("red", "blue"), strict=True):
        PIL.Image.new("RGB", size, colour).save(file)
    board.pictures("views/both", files, 0)
    board.pictures("views/none", [], 0)
    board.hparams({"test.accuracy": 0.9}, {"optimizer.lr": 0.1, "dataset.mean": None}, ["val/accuracy"])
    board.close()
    (file,) = tmp_path.glob("events*")
    events = EventAccumulator(str(file))
    events.Reload()
    assert events.Tags()["images"] == ["views/both"]
    with PIL.Image.open(io.BytesIO(events.Images("views/both")[0].encoded_image_string)) as image:
        assert image.size == (40, 40)  # 60x30 in a row
        assert (image.getpixel((5, 5)), image.getpixel((5, 25))) == ((255, 0, 0), (0, 0, 255))
    assert events.Tags()["tensors"] == ["config/text_summary"]
    assert events.Tags()["scalars"] == []
    plugin = events.summary_metadata["_hparams_/session_start_info"].plugin_data
    assert plugin.plugin_name == "hparams"
    row = HParamsPluginData.FromString(plugin.content).session_start_info.hparams
    assert {key: value.number_value or value.string_value for key, value in row.items()} == {
        "test.accuracy": 0.9,
        "optimizer.lr": 0.1,
        "dataset.mean": "None",
    }


def test_tensorboard_shows_curves_first_and_every_plot_in_few_cards(run) -> None:
    """Cards are sorted by their tag; the figures of the test are no curve of a single point.

    A run has the name of its folder.
    """
    shown = EventMultiplexer().AddRunsFromDirectory(str(run.parent)).Reload()
    assert [*shown.Runs()] == [run.name]
    events = shown.GetAccumulator(run.name)
    tags = events.Tags()
    assert sorted(tags["images"]) == ["views/data", "views/images", "views/metrics"]
    assert {tag.split("/")[0] for tag in tags["scalars"]} == {"train", "val"}
    assert max(tags["scalars"]) < min(tags["images"])
    plugin = events.summary_metadata["_hparams_/session_start_info"].plugin_data
    row = HParamsPluginData.FromString(plugin.content).session_start_info.hparams
    summary = json.loads((run / "summary.json").read_text())
    assert row["test.accuracy"].number_value == summary["test"]["accuracy"]
    assert row["best.val_loss"].number_value == summary["best"]["loss"]


def test_tensorboard_can_be_left_out(train) -> None:
    run = train("silent", "logger.tensorboard=false", "train.epochs=0.2")
    assert event_files(run) == []


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


# A disk that does not take what is written.


class Disk:
    """Where LogFile writes: without `room`, it takes half of a write and fails the next one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.room = True
        self._write = os.write
        monkeypatch.setattr("imclass.runs.log_file.os.write", self.write)

    def write(self, descriptor: int, data: memoryview) -> int:
        if self.room:
            return self._write(descriptor, data)
        if len(data) < 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(descriptor, data[: len(data) // 2])


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.mark.fault("L2")
def test_what_the_disk_does_not_take_is_written_once_there_is_room(tmp_path: Path, disk: Disk) -> None:
    warnings: list[str] = []
    log = LogFile(tmp_path / "log", warnings.append)
    for room in (True, False, False, True):
        disk.room = room
        log.write(b"a whole record\n")
        assert set((tmp_path / "log").read_bytes().split(b"\n")) <= {b"a whole record", b""} or not room
    log.close()
    assert (tmp_path / "log").read_bytes() == 4 * b"a whole record\n"
    assert warnings == [f"{tmp_path}/log: No space left on device; training continues; the write is retried"]


@pytest.mark.fault("L2")
def test_half_a_record_is_never_followed_by_another(tmp_path: Path, disk: Disk) -> None:
    log = LogFile(tmp_path / "log", lambda warning: None)
    log.write(b"one\n")
    disk.room = False
    log.write(b"two\n")
    assert log.sync() == 4  # the position in a checkpoint
    log.close()
    log = LogFile(tmp_path / "log", fail, size=4)
    disk.room = True
    log.write(b"three\n")
    log.close()
    assert (tmp_path / "log").read_bytes() == b"one\nthree\n"


@pytest.mark.fault("L1", "L2")
def test_a_checkpoint_keeps_the_points_that_the_disk_has_not_taken(tmp_path: Path, disk: Disk) -> None:
    first = RunLogger(tmp_path, {}, quiet=True)
    write(first, range(1, 3))
    disk.room = False
    write(first, range(3, 5))
    assert first.incomplete() == ["train.log", "metrics.jsonl", "tensorboard"]
    state = first.state_dict()
    assert missing_logs(tmp_path, state) == []
    disk.room = True
    second = RunLogger(tmp_path, state, quiet=True)
    write(second, range(5, 7))
    assert second.incomplete() == []
    second.close()
    assert [r["step"] for r in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]
    assert steps_of(tmp_path, "train/loss") == [1, 2, 3, 4, 5, 6]


@pytest.mark.fault("L2")
@pytest.mark.parametrize("name", ["train.log", "metrics.jsonl", "metrics.csv", "tensorboard"])
def test_a_training_ends_well_though_one_of_its_logs_takes_nothing(
    train, imclass, finished: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    file = EVENTS if name == "tensorboard" else name

    def full(path: Path) -> None:
        if path.name.startswith(file):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    append, write_csv = LogFile._append, metrics_files.write_csv
    monkeypatch.setattr(LogFile, "_append", lambda log, record: (full(log.path), append(log, record)))
    monkeypatch.setattr(metrics_files, "write_csv", lambda file, rows: (full(file), write_csv(file, rows)))
    outcome = imclass("train", "name=run", *merged(QUICK, ["logger.plots=true"]))
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("\n") == 1
    assert f"outputs/run/{file}" in outcome.err
    assert "No space left on device; training continues" in outcome.err
    assert f"incomplete   {name}: the disk did not take all" in outcome.out
    run = Path("outputs/run")
    summary, whole = (json.loads((r / "summary.json").read_text()) for r in (run, finished))
    assert (summary["unwritten"], summary["test"]) == ([name], whole["test"])
    assert (run / "plots/curves.png").read_bytes() == (finished / "plots/curves.png").read_bytes()
    if name != "metrics.jsonl":
        assert records(run) == records(finished)


@pytest.mark.fault("L2")
def test_output_to_a_full_disk_is_warned_about_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`nohup imclass train > long.log`: what stdout lacks is in train.log, and so is the warning."""
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        console = Console(tmp_path / "train.log", quiet=False)
        for word in ("one", "two"):
            console.line(word)
        console.close()
    warning = "warning: stdout: No space left on device; training continues, and train.log has the output"
    assert capfd.readouterr().err == f"imclass: {warning}\n"
    assert (tmp_path / "train.log").read_text().splitlines() == ["one", warning, "two"]


@pytest.mark.fault("L2", "L3")
def test_a_bar_outlives_its_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    class Gone(Terminal):
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(sys, "stdout", Gone())
    monkeypatch.setattr(sys, "stderr", Gone())
    console = Console(tmp_path / "train.log", quiet=False)
    for step in range(1, 6):
        clock.now += 2
        assert console.advance(step, 3, 5)
        console.progress("", FIGURES, 1234.0)
    console.block("the end")
    console.close()
    log = (tmp_path / "train.log").read_text().splitlines()
    assert "the end" in log
    assert sum("Input/output error" in line for line in log) <= 2  # once for each stream


# A log that has lost what its checkpoint says it has.


def cut(file: Path, size: int) -> None:
    os.truncate(file, file.stat().st_size - size)


def zero(file: Path, size: int) -> None:
    cut(file, size)
    os.truncate(file, file.stat().st_size + size)


def flip(file: Path, size: int) -> None:
    data = bytearray(file.read_bytes())
    data[-size] ^= 1
    file.write_bytes(data)


@pytest.mark.fault("L4")
@pytest.mark.parametrize("damage", [cut, zero, flip])
@pytest.mark.parametrize("name", ["metrics.jsonl", "tensorboard"])
def test_a_log_that_lacks_what_the_checkpoint_records_is_noticed_and_repaired(
    tmp_path: Path, name: str, damage: Callable[[Path, int], None]
) -> None:
    first = RunLogger(tmp_path, {}, quiet=True)
    write(first, range(1, 4))
    state = first.state_dict()
    first.close()
    (events,) = event_files(tmp_path)
    file = events if name == "tensorboard" else tmp_path / name
    assert missing_logs(tmp_path, state) == []
    damage(file, 130)
    (text,) = missing_logs(tmp_path, state)
    assert text.startswith(f"{file} ")
    second = RunLogger(tmp_path, state, quiet=True)
    write(second, range(4, 6))
    second.evaluated("val", 5, 0.5, FIGURES, 8)
    second.close()
    points = [r["step"] for r in read_metrics(tmp_path / "metrics.jsonl")]
    assert points == ([1, 2, 4, 5, 5] if name == "metrics.jsonl" else [1, 2, 3, 4, 5, 5])  # 5: train, val
    steps = [1, 2, 4, 5] if name == "tensorboard" else [1, 2, 3, 4, 5]  # the last of a step's figures
    assert steps_of(tmp_path, "train/grad_norm") == steps
    assert missing_logs(tmp_path, second_state(tmp_path)) == []


def test_rows_are_written_with_each_checkpoint_and_at_the_end(tmp_path: Path) -> None:
    """Not at each evaluation: a training of hundreds of short ones would take most of its time for them."""
    logger, file = RunLogger(tmp_path, {}, quiet=True), tmp_path / "metrics.csv"
    for step in (1, 2):
        logger.evaluated("val", step, 0.5, FIGURES, 8)
    assert not file.exists()
    logger.state_dict()
    assert file.read_text().count("\n") == 3
    logger.evaluated("val", 3, 0.5, FIGURES, 8)
    logger.close()
    assert file.read_text().count("\n") == 4


@pytest.mark.fault("L4")
def test_a_log_that_is_gone_is_noticed_and_begun_again(tmp_path: Path) -> None:
    first = RunLogger(tmp_path, {}, quiet=True)
    write(first, range(1, 4))
    state = first.state_dict()
    first.close()
    (events,) = event_files(tmp_path)
    events.unlink()
    (tmp_path / "metrics.jsonl").unlink()
    assert missing_logs(tmp_path, state) == [f"{events} is gone", f"{tmp_path}/metrics.jsonl is gone"]
    (tmp_path / "metrics.jsonl").write_bytes(b"")
    (text,) = missing_logs(tmp_path, {"metrics": 10**15})  # more than memory has
    assert "has 0 bytes, fewer than the 1,000,000,000,000,000 that" in text
    second = RunLogger(tmp_path, state, quiet=True)
    assert second.evaluated("val", 4, 0.5, FIGURES, 8) is None
    second.close()
    assert [r["step"] for r in read_metrics(tmp_path / "metrics.jsonl")] == [4]


@pytest.mark.fault("L4")
def test_the_logs_are_on_the_disk_before_the_checkpoint_is(train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a checkpoint records the length of was synced since it was last written."""
    done: list[str] = []
    fsync, replace, write_record = os.fsync, Path.replace, LogFile._append

    def kind_of(path: Path) -> str:
        return EVENTS if path.name.startswith(EVENTS) else path.name

    def name_of(descriptor: int) -> str:
        return kind_of(Path(f"/proc/self/fd/{descriptor}").readlink())

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        done.append(f"sync {name_of(descriptor)}")

    def renamed(path: Path, target: Path) -> Path:
        done.append(f"rename {Path(target).name}")
        return replace(path, target)

    def written(log: LogFile, record: bytes) -> None:
        write_record(log, record)
        done.append(f"write {kind_of(log.path)}")

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    monkeypatch.setattr(LogFile, "_append", written)
    train("run", "train.epochs=0.4")
    before = done[: done.index("rename last.pt")]
    for name in ("metrics.jsonl", EVENTS):
        last = max(index for index, entry in enumerate(before) if entry == f"write {name}")
        assert f"sync {name}" in before[last:], before


def second_state(folder: Path) -> dict:
    logs = RunLogger(folder, {"metrics": 10**6, "events": sizes_of(folder)}, quiet=True)
    state = logs.state_dict()
    logs.close()
    return state


def sizes_of(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in event_files(folder)}


def write(logger: RunLogger, steps: range) -> None:
    for step in steps:
        logger.train(step, step / 10, FIGURES, 64, lr=0.1, images_per_second=9.0, grad_norm=1.0)


def steps_of(folder: Path, tag: str) -> list[int]:
    steps = []
    for file in event_files(folder):
        events = EventAccumulator(str(file))
        events.Reload()
        if tag in events.Tags()["scalars"]:
            steps += [event.step for event in events.Scalars(tag)]
    return sorted(steps)
