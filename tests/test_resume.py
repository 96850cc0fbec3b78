"""A run that was interrupted ends bit for bit like one that never was.

Real processes are killed, or asked to stop, at named points; at random ones: test_soak.py.
"""

import json
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import records
from damages import events, move_events
from holding import Hold
from pictures import fade, save

from imclass.commands.selftest.points import At, Patch
from imclass.commands.selftest.trainings import Training, finish, overrides
from imclass.runs.checkpoint import load_checkpoint, read_checkpoint, write_checkpoint
from imclass.runs.same_run import differences, equal
from imclass.runs.tensorboard import event_files

# Where a training is killed, and after which step its last complete checkpoint was saved.
KILLS = [
    (At("data preparation"), None),
    (At("before the first step"), None),
    (At("in a step", 8), 6),
    (At("between two log lines", 4), 3),  # of step 5: training, then validation
    (At("in an evaluation", 3), 9),  # the second one: each has two batches
    (At("half of last.pt written", 4), 6),
    (At("before last.pt becomes previous.pt", 3), 6),
    (At("before the rename to last.pt", 5), 9),
    (At("after the rename to last.pt", 5), 10),
    (At("before the rename to best.pt"), 3),
    (At("after the rename to best.pt"), 3),
    (At("before the test"), 18),
    (At("before the rename to best.safetensors"), 18),
    (At("before the rename to summary.json", 2), 18),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing disturbs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("whole"))
        finish(overrides("whole"))
        return Path.cwd() / "outputs/whole"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "outputs"


def saved_step(run: Path) -> int | None:
    last = run / "checkpoints/last.pt"
    previous = run / "checkpoints/previous.pt"
    found = last if last.exists() else previous if previous.exists() else None
    return read_checkpoint(found)["progress"]["step"] if found else None


@pytest.mark.fault("R1", "C1")
@pytest.mark.parametrize(("kill", "saved"), KILLS, ids=lambda value: getattr(value, "point", ""))
def test_killed_anywhere_and_resumed_ends_bit_for_bit(here: Path, whole: Path, kill: At, saved: int) -> None:
    finish(overrides("killed"), kill, code=-signal.SIGKILL)
    assert saved_step(here / "killed") == saved
    finish(overrides("killed"))
    assert differences(here / "killed", whole) == []
    assert list(here.rglob(".tmp-*")) == []


@pytest.mark.fault("R9")
@pytest.mark.parametrize(
    "point", ["before the rename to report.html", "after the rename to report.html", "before the last word"]
)
def test_killed_before_all_is_written_a_run_is_concluded_again(here: Path, whole: Path, point: str) -> None:
    """Of "finished" and what it promises, "finished" comes last."""
    kill = At("before the rename to summary.json", 2) if point == "before the last word" else At(point)
    finish(overrides("killed"), kill, code=-signal.SIGKILL)
    assert json.loads((here / "killed/summary.json").read_text())["status"] == "running"
    assert "best model" not in Path("log.txt").read_text()  # the last block is of a finished run
    finish(overrides("killed"))
    assert differences(here / "killed", whole) == []


@pytest.mark.fault("R9")
def test_killed_after_the_last_word_a_run_is_finished(here: Path, whole: Path) -> None:
    finish(overrides("killed"), At("after the rename to summary.json", 2), code=-signal.SIGKILL)
    finish(overrides("killed"))
    assert "finished already" in Path("log.txt").read_text()
    assert differences(here / "killed", whole) == []


@pytest.mark.fault("R1", "R2")
@pytest.mark.parametrize(
    "more",
    [
        ("device.precision=bf16", "optimizer=muon", "train.ema=0.9"),
        (
            "model=speednet",
            "model.dropout=null",
            "optimizer=muon",
            "optimizer.normalize_weights=true",
            "train.resolutions=[10:4st,12:13st]",
            "augment.flip=alternating",
            "augment.crop_padding=reflect",
        ),
        ("optimizer=muon", "scheduler=plateau", "checkpoint.metric=macro_f1"),
        (
            "checkpoint.every=null",
            "dataset.folds=10",
            "dataset.fold=3",
            "optimizer=adamw",
            "optimizer.lr=0.003",
            "scheduler=onecycle",
            "augment.randaugment=2",
            "augment.cutmix=0.5",
        ),
        (
            "dataset.balance=true",
            "train.class_weights=[1,2,3,4]",
            "train.focal_gamma=1.5",
            "train.grad_clip=0.5",
            "checkpoint.metric=balanced_accuracy",
            "optimizer=rmsprop",
            "optimizer.lr=0.001",
        ),
        (
            "augment=photo",
            "augment.crop=0",
            "augment.flip=alternating",
            "augment.trivialaugment=true",
            "dataset.synthetic.shape=[3,16,16]",
        ),
    ],
    ids=lambda more: more[0],
)
def test_all_state_is_resumed(here: Path, more: tuple[str, ...]) -> None:
    """Batch norm, Muon, a plateau schedule; saved when the clock says so.

    In bf16 the smallest model, since it may be emulated.
    """
    assert differences_after_a_kill(here, more, At("in a step", 12)) == []


@pytest.mark.soak
@pytest.mark.fault("R1")
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_training_is_resumed(here: Path) -> None:
    """After its images have changed their size, which compiles anew."""
    more = "device.compile=true", "train.resolutions=[12:6st]"
    assert differences_after_a_kill(here, more, At("in a step", 12)) == []


def differences_after_a_kill(here: Path, more: Sequence[str], kill: At, *patches: Patch) -> list[str]:
    """Return what differs between a run that is killed once and resumed, and one that is not."""

    def typed(name: str) -> list[str]:
        words, of_a_folder = overrides(name, *more), "dataset=image_folder" in more
        return [word for word in words if not (of_a_folder and word.startswith("dataset.synthetic."))]

    finish(typed("whole"), *patches)
    finish(typed("killed"), *patches, kill, code=-signal.SIGKILL)
    finish(typed("killed"), *patches)
    killed, whole = sorted(here.iterdir())
    return differences(killed, whole)


@pytest.mark.fault("R1")
def test_a_smoke_run_is_resumed(here: Path) -> None:
    """Its name has an ending, its length and its checkpoints are its own."""
    more = "train.smoke=true", "augment=text", "train.resolutions=[14:1ep]"
    assert differences_after_a_kill(here, more, At("in a step", 5)) == []
    assert (here / "killed_smoke").is_dir()


def write_table(folder: Path) -> None:
    """Write 36 pictures that fade out in a folder per class, one damaged, and a table with every column."""
    rows = ["file,label,group,split"]
    for number in range(36):
        label, group = "aaab"[number % 4], number // 4
        name, split = f"{label}/{number}.png", "train" if group < 7 else "test"
        save(folder / name, (20, 16))
        fade(folder / name)
        rows.append(f"{name},{label},patient {group},{split}")
    (folder / "a/5.png").write_bytes(b"")
    (folder / "table.csv").write_text("\n".join(rows))


def cache_here() -> None:
    os.environ["IMCLASS_CACHE"] = "cache"


@pytest.mark.fault("R1")
@pytest.mark.parametrize(("root", "weights"), [("pictures/table.csv", "auto"), ("pictures", "inverse")])
def test_a_training_on_pictures_is_resumed(here: Path, root: str, weights: str) -> None:
    """Groups, splits and folds, damaged and transparent pictures, weights and figures by class."""
    write_table(here.parent / "pictures")
    data = "dataset=image_folder", f"dataset.root={root}", "dataset.on_damaged=skip"
    folds = "dataset.folds=3", "dataset.fold=1", "dataset.background=black"
    size = "dataset.resize=16", "dataset.centre=0.875", "augment.resized_crop=true", "augment.crop=0"
    uneven = f"train.class_weights={weights}", "checkpoint.metric=macro_f1", "train.steps=12"
    more = *data, *folds, *size, *uneven
    assert differences_after_a_kill(here, more, At("in a step", 8), cache_here) == []
    summary = json.loads((here / "whole/summary.json").read_text())
    assert sum(summary["skipped"].values()) == 1


# A signal at each of these points ends with exit code 75, with this step saved and this said.
SIGNALS = [
    (At("data preparation", signal=signal.SIGTERM), None, "stopped by SIGTERM; "),
    (At("building the model", signal=signal.SIGINT), None, "stopped by SIGINT; "),
    (At("before the first step", signal=signal.SIGUSR1, group=True), 1, "stopped by SIGUSR1 at step 1; "),
    (At("in a step", 8, signal.SIGINT), 8, "stopped by SIGINT at step 8; "),
    (At("in a step", 5, signal.SIGINT), 5, "stopped by SIGINT at step 5, before its evaluation; "),
    (At("between two log lines", 5, signal.SIGTERM, group=True), 6, "stopped by SIGTERM at step 6; "),
    (At("in an evaluation", 3, signal.SIGTERM), 10, "stopped by SIGTERM at step 10, before its evaluation; "),
    (At("before the rename to last.pt", 3, signal.SIGUSR1), 7, "stopped by SIGUSR1 at step 7; "),
    (At("before the test", signal=signal.SIGTERM), 18, "stopped by SIGTERM; "),
    (
        At("before the rename to best.safetensors", signal=signal.SIGINT, group=True),
        18,
        "stopped by SIGINT; ",
    ),
]


@pytest.mark.fault("R6")
@pytest.mark.parametrize(("asked", "saved", "said"), SIGNALS, ids=lambda value: getattr(value, "point", ""))
def test_asked_to_stop_anywhere_it_saves_and_exits_75(
    here: Path, whole: Path, asked: At, saved: int | None, said: str
) -> None:
    run = here / "asked"
    finish(overrides("asked"), asked, code=75)
    assert said in Path("log.txt").read_text()
    assert saved_step(run) == saved
    if saved is not None:
        summary = json.loads((run / "summary.json").read_text())
        assert (summary["status"], summary["step"]) == ("interrupted", saved)
        assert said.rstrip("; ") in (run / "train.log").read_text()
    finish(overrides("asked"))
    assert differences(run, whole) == []


@pytest.mark.fault("R9")
@pytest.mark.parametrize("point", ["before the rename to report.html", "after the rename to report.html"])
def test_a_signal_after_the_test_changes_nothing(here: Path, whole: Path, point: str) -> None:
    finish(overrides("asked"), At(point, signal=signal.SIGTERM))
    assert differences(here / "asked", whole) == []


def test_an_evaluation_that_was_interrupted_is_repeated(here: Path, whole: Path) -> None:
    finish(overrides("asked"), At("in an evaluation", 3, signal.SIGTERM), code=75)
    assert len(records(here / "asked", split="val")) == 1
    finish(overrides("asked"))
    assert differences(here / "asked", whole) == []


@pytest.mark.fault("R6")
def test_a_second_signal_waits_for_the_save_and_a_third_exits(here: Path, whole: Path) -> None:
    first, more = At("in a step", 7, signal.SIGTERM), At("before the rename to last.pt", 4, signal.SIGTERM)
    finish(overrides("second"), first, more, code=75)
    assert saved_step(here / "second") == 7
    finish(overrides("third"), first, more, more, code=75)
    assert saved_step(here / "third") == 6
    for name in ("second", "third"):
        finish(overrides(name))
        assert differences(here / name, whole) == []


@pytest.mark.fault("R4")
def test_a_second_process_in_the_same_folder_is_refused(here: Path, whole: Path) -> None:
    """R4; the lock of a process that was killed is gone with it."""
    process = Training(overrides("shared"), Hold("in a step", 5))
    process.until(Path("held").exists)
    finish(overrides("shared"), code=2)
    assert f"is in use by process {process.pid} on " in Path("log.txt").read_text()
    process.send(signal.SIGKILL)
    process.wait()
    finish(overrides("shared"))
    assert differences(here / "shared", whole) == []


@pytest.mark.fault("C2")
def test_a_damaged_last_checkpoint_costs_some_steps_and_nothing_else(here: Path, whole: Path) -> None:
    run = here / "damaged"
    finish(overrides("damaged"), At("in a step", 15), code=-signal.SIGKILL)
    last = run / "checkpoints/last.pt"
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 1
    last.write_bytes(data)
    finish(overrides("damaged"))
    assert "last.pt is damaged" in (run / "train.log").read_text()
    assert differences(run, whole) == []


@pytest.mark.fault("C13")
def test_a_missing_last_checkpoint_costs_some_steps_and_is_reported(here: Path, whole: Path) -> None:
    run = here / "missing"
    finish(overrides("missing"), At("in a step", 15), code=-signal.SIGKILL)
    (run / "checkpoints/last.pt").unlink()
    said = finish(overrides("missing"))
    previous = "outputs/missing/checkpoints/previous.pt"
    assert f"last.pt is missing: resuming from {previous}, step 10" in said
    assert differences(run, whole) == []


@pytest.mark.fault("L4")
@pytest.mark.parametrize("log", ["metrics.jsonl", "event file"])
def test_logs_shorter_than_the_last_checkpoint_says_cost_some_steps(
    here: Path, whole: Path, log: str
) -> None:
    """As after a power cut. The checkpoint that is passed over is never taken later."""
    run = here / "short"
    finish(overrides("short"), At("in a step", 15), code=-signal.SIGKILL)
    position = read_checkpoint(run / "checkpoints/last.pt")["logger"]
    file = run / log if log == "metrics.jsonl" else events(run)
    size = position["metrics"] if log == "metrics.jsonl" else position["events"][file.name]
    os.truncate(file, size - 1)
    said = finish(overrides("short"), At("in a step", 1), code=-signal.SIGKILL)
    assert f"{file.name} has {size - 1:,} bytes" in said
    assert "falling back to outputs/short/checkpoints/previous.pt, step 10" in said
    finish(overrides("short"))
    assert differences(run, whole) == []


@pytest.mark.fault("L4")
def test_logs_shorter_than_any_checkpoint_says_lose_their_points_only(here: Path, whole: Path) -> None:
    run = here / "lost"
    finish(overrides("lost"), At("in a step", 15), code=-signal.SIGKILL)
    os.truncate(run / "metrics.jsonl", 5)
    said = finish(overrides("lost"))
    assert "metrics.jsonl has 5 bytes" in said and "its points are lost" in said
    for name in ("last.pt", "best.pt"):
        got, want = (read_checkpoint(folder / "checkpoints" / name)["model"] for folder in (run, whole))
        assert equal(got, want)
    assert records(run)[-3:] == records(whole)[-3:]


@pytest.mark.fault("R1")
def test_killed_between_training_and_test_after_an_early_end(here: Path) -> None:
    """With the state of a plateau schedule and of Muon; training that ended stays ended."""
    more = "train.early_stopping=1", "scheduler=plateau", "scheduler.patience=1", "optimizer=muon"
    more = (*more, "optimizer.lr=1e-9", "optimizer.adamw_lr=1e-9", "train.epochs=9", "device.micro_batch=3")
    finish(overrides("whole", *more))
    finish(overrides("killed", *more), At("before the test"), code=-signal.SIGKILL)
    finish(overrides("killed", *more))
    assert "no better model" in json.loads((here / "killed/summary.json").read_text())["stopped"]
    assert differences(here / "killed", here / "whole") == []


@pytest.mark.fault("L1")
def test_a_run_that_was_moved_has_every_point_once(here: Path, whole: Path) -> None:
    finish(overrides("killed"), At("in a step", 15), code=-signal.SIGKILL)
    (here / "killed").rename(here / "moved")
    finish(["resume=outputs/moved"])
    assert differences(here / "moved", whole) == []


@pytest.mark.fault("L1", "C7")
def test_event_files_with_other_names_are_ours_if_the_checkpoint_knows_them(here: Path, whole: Path) -> None:
    """imclass 0.1 wrote them through torch, into another folder; a file of another program stays."""
    finish(overrides("killed"), At("in a step", 15), code=-signal.SIGKILL)
    run = here / "killed"
    move_events(run)
    (ours,) = event_files(run / "tensorboard")
    old = ours.rename(ours.with_suffix(""))
    for name in ("last.pt", "previous.pt"):
        header, state = load_checkpoint(run / "checkpoints" / name)
        state["logger"]["events"] = {old.name: state["logger"]["events"][ours.name]}
        write_checkpoint(run / "checkpoints" / name, state, header)
    foreign = run / "tensorboard/events.out.tfevents.1.host.1.0"
    foreign.write_bytes(b"")
    finish(overrides("killed"), At("in a step", 1), code=-signal.SIGKILL)  # a session without a checkpoint
    finish(overrides("killed"))
    assert foreign.read_bytes() == b""
    foreign.unlink()
    assert event_files(run) == []
    assert differences(run, whole) == []


@pytest.mark.fault("C5")
def test_the_best_figure_survives_a_restart(here: Path) -> None:
    """After the restart every evaluation is worse, so the best model must stay."""
    run = here / "best"
    finish(overrides("best"), At("in a step", 17), code=-signal.SIGKILL)
    before = read_checkpoint(run / "checkpoints/last.pt")["progress"]["best"]
    finish(overrides("best"))
    summary = json.loads((run / "summary.json").read_text())
    assert summary["best"]["accuracy"] >= before["accuracy"]
    assert summary["best"]["accuracy"] == max(r["accuracy"] for r in records(run, split="val"))


@pytest.mark.fault("R3")
def test_another_number_of_threads_is_noticed(here: Path) -> None:
    finish(overrides("threads"), At("in a step", 9), code=-signal.SIGKILL)
    finish(overrides("threads", "device.threads=2"))
    log = (here / "threads/train.log").read_text()
    assert "resuming with threads 1 -> 2: bit-identity not guaranteed" in log


def change_the_images() -> None:
    from imclass.data import synthetic

    synthetic.SEED = 99


def test_other_training_images_are_refused(here: Path) -> None:
    finish(overrides("images"), At("in a step", 9), code=-signal.SIGKILL)
    finish(overrides("images"), change_the_images, code=2)
    assert "not those that this run began with" in Path("log.txt").read_text()
