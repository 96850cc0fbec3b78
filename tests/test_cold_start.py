"""Signals while a program starts: real processes, since a forked one has its imports behind it."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from same_run import assert_same_run

from imclass.commands.selftest.trainings import finish, overrides

pytestmark = [
    pytest.mark.fault("R6", "R10"),
    pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc to see how far a start is"),
]
SCRIPT = ["-c", "from imclass.cli import script; script()"]  # what the console script does
Ready = Callable[[subprocess.Popen], bool]


def started(*argv: str, **environment: str) -> subprocess.Popen:
    command = [sys.executable, *argv]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )


def until(process: subprocess.Popen, ready: Ready) -> None:
    while process.poll() is None and not ready(process):
        time.sleep(0.002)


def catches_signals(process: subprocess.Popen) -> bool:
    """Return whether the process has its handlers, of which that for SIGUSR1 is set last."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:  # it has ended
        return False
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (signal.SIGUSR1 - 1) & 1)


def has_loaded(library: str) -> Ready:
    def ready(process: subprocess.Popen) -> bool:
        try:
            return library in Path(f"/proc/{process.pid}/maps").read_text()
        except OSError:  # it has ended
            return False

    return ready


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return tmp_path / "outputs"


@pytest.mark.parametrize(
    ("command", "ready", "how"),
    [
        (["-m", "imclass", "train"], catches_signals, signal.SIGTERM),
        (["-m", "imclass.train"], catches_signals, signal.SIGINT),
        ([*SCRIPT, "train"], has_loaded("_yaml"), signal.SIGUSR1),
        (["-m", "imclass.train"], has_loaded("libtorch_cpu"), signal.SIGTERM),
        ([*SCRIPT, "evaluate"], has_loaded("libtorch_cpu"), signal.SIGINT),
    ],
    ids=["the first lines", "the first lines of a rank", "configuration", "torch", "evaluate"],
)
def test_a_signal_during_imports_ends_the_program_with_75(
    here: Path, finished: Path, command: list[str], ready: Ready, how: signal.Signals
) -> None:
    argv = [str(finished)] if command[-1] == "evaluate" else overrides("asked")
    process = started(*command, *argv)
    until(process, ready)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    said = f"imclass: stopped by {how.name}; the same command starts it again\n"
    assert (process.returncode, err) == (75, said)
    assert list(here.parent.iterdir()) == []


@pytest.fixture
def store_that_never_answers() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_rank_that_waits_for_its_peers_ends_as_well(
    here: Path, store_that_never_answers: socket.socket
) -> None:
    port = store_that_never_answers.getsockname()[1]
    names = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    process = started("-m", "imclass.train", *overrides("asked"), **names, **place)
    connection, _ = store_that_never_answers.accept()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    connection.close()
    assert (process.returncode, err) == (75, "")  # rank 0 reports it


@pytest.mark.soak
def test_a_signal_at_any_of_12_moments_of_a_start_costs_nothing(here: Path) -> None:
    """From the first lines to the first steps; then the same command runs through."""
    finish(overrides("whole"))
    chance = random.Random(10)
    for number in range(12):
        process = started("-m", "imclass", "train", *overrides("asked"))
        until(process, catches_signals)
        time.sleep(chance.uniform(0.0, 5.0))
        process.send_signal(chance.choice([signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]))
        _, err = process.communicate(timeout=60)
        assert process.returncode in (0, 75), f"{number}: {err}"
        assert "Traceback" not in err
    finish(overrides("asked"))
    assert_same_run(here / "asked", here / "whole")
