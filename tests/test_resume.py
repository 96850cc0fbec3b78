"""A run that was interrupted ends bit for bit like one that never was. Rows R1 to R4, R6 and L1.

Real processes are killed with SIGKILL. They are forked from one server that has torch imported, so that
a kill costs a second or two.
"""

import contextlib
import itertools
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import QUICK, merged, records
from same_run import assert_same_run

from imclass import cli
from imclass.runs.checkpoint import read_checkpoint
from imclass.training.trainer import Trainer

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["conftest", "imclass.training.lifecycle", "torch.utils.tensorboard"])

# Dropout, several kinds of random augmentation, an average of the weights, several epochs.
RUN = [
    "model.dropout=0.2",
    "dataset.synthetic.train=80",
    "dataset.synthetic.test=16",
    "dataset.val_split=16",
    "train.batch_size=8",
    "train.epochs=3",
    "train.eval_every=5st",
    "train.log_every=2st",
    "train.ema=0.9",
    "train.label_smoothing=0.1",
    "augment.flip=true",
    "augment.cutout=4",
    "augment.random_erasing=0.3",
    "augment.mixup=0.4",
    "checkpoint.every=3st",
    "logger.quiet=true",
]


def overrides(name: str, *more: str) -> list[str]:
    return [f"name={name}", *merged(merged(QUICK, RUN), more)]


def slow_down() -> None:
    """Let every step last a little, so that a signal arrives before the end."""
    train_step = Trainer.train_step

    def slower(self: Trainer) -> None:
        time.sleep(0.02)
        train_step(self)

    Trainer.train_step = slower


def run_train(argv: list[str], folder: str, *patches: Callable[[], None]) -> None:
    """Run `imclass train` as the whole of this process, in `folder`, in a process group of its own."""
    os.setsid()
    os.chdir(folder)
    sys.stdout = sys.stderr = Path("log.txt").open("a")  # noqa: SIM115
    for patch in patches:
        patch()
    code = cli.main(["train", *argv])
    sys.stdout.flush()
    os._exit(code)


def start(argv: list[str], *patches: Callable[[], None]) -> Any:
    """Start a run from the fork server; return its process."""
    process = SERVER.Process(target=run_train, args=(argv, str(Path.cwd()), *patches))
    process.start()
    return process


def finish(argv: list[str], *patches: Callable[[], None], code: int = 0) -> None:
    process = start(argv, *patches)
    process.join()
    assert process.exitcode == code, Path("log.txt").read_text()[-3000:]


def kill_when(
    argv: list[str],
    ready: Callable[[], bool],
    *patches: Callable[[], None],
    how: int = signal.SIGKILL,
    group: bool = False,
) -> int:
    """Start a run, send it a signal once `ready`; return its exit code (negative: the signal)."""
    process = start(argv, slow_down, *patches)
    while process.is_alive() and not ready():
        time.sleep(0.002)
    send(process, how, group=group)
    process.join()
    return process.exitcode


def send(process: Any, how: int, *, group: bool = False) -> None:
    """Send a signal to a process, or to its group, unless it has just ended."""
    with contextlib.suppress(ProcessLookupError):
        if process.is_alive():
            (os.killpg if group else os.kill)(process.pid, how)


def logged_step(run: Path) -> int:
    """Return the last step in metrics.jsonl, -1 before the first."""
    file = run / "metrics.jsonl"
    lines = file.read_text().split("\n")[:-1] if file.exists() else []  # without one that is being written
    return json.loads(lines[-1])["step"] if lines else -1


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "outputs"


@pytest.mark.parametrize(("precision", "model", "kills"), [("fp32", "speednet", 10), ("bf16", "lenet", 4)])
def test_killed_at_random_steps_and_resumed_ends_bit_for_bit(
    here: Path, precision: str, model: str, kills: int
) -> None:
    """With batch norm in fp32; in bf16 the smallest model, since it may be emulated."""
    more = f"device.precision={precision}", f"model={model}"
    finish(overrides("whole", *more))
    chance = random.Random(f"kills {precision}")
    for number in range(kills):
        name = f"killed{number}"
        run, at = here / name, chance.randrange(0, 18)
        code = kill_when(
            overrides(name, *more), lambda run=run, at=at: logged_step(run) >= at, group=number % 2 == 0
        )
        assert code == -signal.SIGKILL
        finish(overrides(name, *more))
        assert_same_run(run, here / "whole")


def test_killed_again_and_again_anywhere(here: Path) -> None:
    """At any time: while importing data, building, stepping, evaluating, saving, finishing."""
    finish(overrides("whole"))
    run, chance, kills = here / "killed", random.Random(0), 0
    while True:
        end = time.monotonic() + chance.uniform(0.0, 1.5)
        code = kill_when(overrides("killed"), lambda end=end: time.monotonic() > end)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
        if kills == 25:  # a slow machine: let it end
            finish(overrides("killed"))
            break
    assert kills >= 1
    assert_same_run(run, here / "whole")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_polite_signal_saves_at_the_step_and_exits_75(here: Path, how: signal.Signals) -> None:
    finish(overrides("whole"))
    run = here / "asked"
    code = kill_when(overrides("asked"), lambda: logged_step(run) >= 7, how=how)
    assert code == 75
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    saved = read_checkpoint(run / "checkpoints/last.pt")["progress"]["step"]
    assert saved == summary["step"] >= 7
    assert how.name in (run / "train.log").read_text()
    finish(overrides("asked"))
    assert_same_run(run, here / "whole")


def slow_down_the_rest() -> None:
    """Let the data, each batch of an evaluation and the plots last, so that signals arrive there too."""
    from imclass.evaluation import evaluate as evaluation
    from imclass.training import build
    from imclass.training import lifecycle as finish

    prepare_data, logits_of, write = build.prepare_data, evaluation.logits_of, finish.write_split_report
    build.prepare_data = lambda *args: (time.sleep(0.3), prepare_data(*args))[1]
    evaluation.logits_of = lambda *args: (time.sleep(0.05), logits_of(*args))[1]
    finish.write_split_report = lambda *args: (time.sleep(0.2), write(*args))[1]


def catches_signals(process: Any) -> bool:
    """Tell whether the process has its handlers, of which that for SIGUSR1 is set last."""
    status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    mask = next((line for line in status if "SigCgt" in line), "SigCgt: 0")
    return bool(int(mask.split()[1], 16) >> (signal.SIGUSR1 - 1) & 1)


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs /proc to know when a handler is set"
)
def test_a_signal_at_any_of_30_moments_ends_with_75_and_costs_nothing(here: Path) -> None:
    """R6: from when its handler is set to its end, to the process or its group."""
    finish(overrides("whole"))
    chance, given, runs = random.Random(6), 0, 0
    while given < 30:
        for _ in range(15):
            process = start(overrides(f"asked{runs}"), slow_down, slow_down_the_rest)
            while process.is_alive() and not catches_signals(process):
                time.sleep(0.001)
            time.sleep(chance.uniform(0.0, 2.5))
            how = chance.choice([signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
            send(process, how, group=chance.random() < 0.5)
            process.join()
            assert process.exitcode in (0, 75), Path("log.txt").read_text()[-3000:]
            given += process.exitcode == 75
            if process.exitcode == 0:
                break
        else:  # a slow machine, which is always asked before it ends
            finish(overrides(f"asked{runs}"))
        assert_same_run(here / f"asked{runs}", here / "whole")
        runs += 1


def signal_in_second_evaluation() -> None:
    from imclass.evaluation import evaluate as evaluation

    logits_of, batches = evaluation.logits_of, iter(range(1000))

    def signalling(*args: Any) -> torch.Tensor:
        if next(batches) == 2:  # an evaluation has two batches
            os.kill(os.getpid(), signal.SIGTERM)
        return logits_of(*args)

    evaluation.logits_of = signalling


def test_a_signal_in_an_evaluation_saves_there_and_repeats_it(here: Path) -> None:
    finish(overrides("whole"))
    finish(overrides("asked"), signal_in_second_evaluation, code=75)
    run = here / "asked"
    assert "stopped by SIGTERM at step 10, before its evaluation" in Path("log.txt").read_text()
    assert read_checkpoint(run / "checkpoints/last.pt")["progress"]["step"] == 10
    assert len(records(run, split="val")) == 1
    finish(overrides("asked"))
    assert_same_run(run, here / "whole")


def signals_while_saving(times: int) -> None:
    """Ask to stop at step 7, and again `times` times while the checkpoint of that is written."""
    from imclass.machine.signals import STOP
    from imclass.runs import checkpoint

    train_step, write = Trainer.train_step, checkpoint._with_comment

    def step(self: Trainer) -> None:
        train_step(self)
        if self.progress.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    def signalling(*args: Any) -> Any:
        result = write(*args)
        for _ in range(times if STOP.number else 0):
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    Trainer.train_step, checkpoint._with_comment = step, signalling


def one_more_signal_while_saving() -> None:
    signals_while_saving(1)


def two_more_signals_while_saving() -> None:
    signals_while_saving(2)


def test_a_second_signal_waits_for_the_save_and_a_third_exits(here: Path) -> None:
    finish(overrides("second"), one_more_signal_while_saving, code=75)
    assert read_checkpoint(here / "second/checkpoints/last.pt")["progress"]["step"] == 7
    finish(overrides("third"), two_more_signals_while_saving, code=75)
    assert read_checkpoint(here / "third/checkpoints/last.pt")["progress"]["step"] == 6
    for name in ("whole", "second", "third"):
        finish(overrides(name))
    assert_same_run(here / "second", here / "whole")
    assert_same_run(here / "third", here / "whole")


def crawl_from_step_5() -> None:
    train_step = Trainer.train_step

    def slower(self: Trainer) -> None:
        time.sleep(10.0 if self.progress.step >= 5 else 0.0)
        train_step(self)

    Trainer.train_step = slower


def test_a_second_process_in_the_same_folder_is_refused(here: Path) -> None:
    """R4; the lock of a process that was killed is gone with it."""
    process = start(overrides("shared"), crawl_from_step_5)
    while process.is_alive() and logged_step(here / "shared") < 4:
        time.sleep(0.002)
    finish(overrides("shared"), code=2)
    assert f"is in use by process {process.pid} on " in Path("log.txt").read_text()
    send(process, signal.SIGKILL)
    process.join()
    finish(overrides("shared"))


def break_the_seeding() -> None:
    """Draw the augmentation from a running state instead of the step."""
    from imclass.data import loader

    count = itertools.count()
    loader.derive_seed = lambda seed, purpose, position: next(count)


def test_with_the_seeding_broken_the_comparison_fails(here: Path) -> None:
    """The negative control."""
    finish(overrides("whole"), break_the_seeding)
    assert (
        kill_when(overrides("killed"), lambda: logged_step(here / "killed") >= 8, break_the_seeding)
        == -signal.SIGKILL
    )
    finish(overrides("killed"), break_the_seeding)
    with pytest.raises(AssertionError):
        assert_same_run(here / "killed", here / "whole")


def test_a_damaged_last_checkpoint_costs_some_steps_and_nothing_else(here: Path) -> None:
    finish(overrides("whole"))
    run = here / "damaged"
    assert kill_when(overrides("damaged"), lambda: logged_step(run) >= 14) == -signal.SIGKILL
    last = run / "checkpoints/last.pt"
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 1
    last.write_bytes(data)
    finish(overrides("damaged"))
    assert "last.pt is damaged" in (run / "train.log").read_text()
    assert_same_run(run, here / "whole")


def die_before_the_test() -> None:
    from imclass.training import lifecycle as finish

    finish.conclude = lambda job: os.kill(os.getpid(), signal.SIGKILL)


def test_killed_between_training_and_test_after_an_early_end(here: Path) -> None:
    """With the state of a plateau schedule and of Muon; training that ended stays ended."""
    more = "train.early_stopping=1", "scheduler=plateau", "scheduler.patience=1", "optimizer=muon"
    more = (*more, "optimizer.lr=1e-9", "optimizer.adamw_lr=1e-9", "train.epochs=9", "device.micro_batch=3")
    finish(overrides("whole", *more))
    finish(overrides("killed", *more), die_before_the_test, code=-signal.SIGKILL)
    finish(overrides("killed", *more))
    assert "no better model" in json.loads((here / "killed/summary.json").read_text())["stopped"]
    assert_same_run(here / "killed", here / "whole")


def test_the_best_figure_survives_a_restart(here: Path) -> None:
    """C5: after the restart every evaluation is worse, so the best model must stay."""
    run = here / "best"
    assert kill_when(overrides("best"), lambda: logged_step(run) >= 16) == -signal.SIGKILL
    before = read_checkpoint(run / "checkpoints/last.pt")["progress"]["best"]
    finish(overrides("best"))
    summary = json.loads((run / "summary.json").read_text())
    assert summary["best"]["accuracy"] >= before["accuracy"]
    assert summary["best"]["accuracy"] == max(r["accuracy"] for r in records(run, split="val"))


def test_another_number_of_threads_is_noticed(here: Path) -> None:
    """R3."""
    run = here / "threads"
    assert kill_when(overrides("threads"), lambda: logged_step(run) >= 8) == -signal.SIGKILL
    finish(overrides("threads", "device.threads=2"))
    assert "resuming with threads 1 -> 2: bit-identity not guaranteed" in (run / "train.log").read_text()


def change_the_images() -> None:
    from imclass.data import synthetic

    synthetic.SEED = 99


def test_other_training_images_are_refused(here: Path) -> None:
    run = here / "images"
    assert kill_when(overrides("images"), lambda: logged_step(run) >= 8) == -signal.SIGKILL
    finish(overrides("images"), change_the_images, code=2)
    assert "not those that this run began with" in Path("log.txt").read_text()
