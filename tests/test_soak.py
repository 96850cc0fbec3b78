"""Kills and signals at random moments: what nobody thought of a name for. Run by `pytest -m soak`."""

import contextlib
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from same_run import assert_same_run

from imclass.commands.selftest.points import call
from imclass.commands.selftest.trainings import Training, finish, logged_step, overrides

pytestmark = pytest.mark.soak


def slow(seconds: float, function: str) -> None:
    """Let a function last, so that a signal arrives in it."""
    call(function)(lambda: time.sleep(seconds))


def slow_steps() -> None:
    slow(0.02, "imclass.training.trainer:Trainer.train_step")


def slow_rest() -> None:
    slow(0.3, "imclass.training.build:prepare_data")
    slow(0.05, "imclass.evaluation.evaluate:logits_of")
    slow(0.2, "imclass.training.lifecycle:write_split_report")


def kill_when(argv: list[str], ready: Callable[[], bool], *, group: bool = False) -> int | None:
    """Start a training, kill it once `ready`; return its exit code."""
    process = Training(argv, slow_steps)
    process.until(ready)
    process.send(signal.SIGKILL, group=group)
    return process.wait()


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


def catches_signals(process: Training) -> bool:
    """Return whether the process has its handlers, of which that for SIGUSR1 is set last."""
    status = ""
    with contextlib.suppress(FileNotFoundError):  # it has ended
        status = Path(f"/proc/{process.pid}/status").read_text()
    mask = next((line for line in status.splitlines() if "SigCgt" in line), "SigCgt: 0")
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
            process = Training(overrides(f"asked{runs}"), slow_steps, slow_rest)
            process.until(lambda process=process: catches_signals(process))
            time.sleep(chance.uniform(0.0, 2.5))
            how = chance.choice([signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
            process.send(how, group=chance.random() < 0.5)
            process.wait()
            assert process.exitcode in (0, 75), Path("log.txt").read_text()[-3000:]
            given += process.exitcode == 75
            if process.exitcode == 0:
                break
        else:  # a slow machine, which is always asked before it ends
            finish(overrides(f"asked{runs}"))
        assert_same_run(here / f"asked{runs}", here / "whole")
        runs += 1
