"""Signals while a program starts: real processes, since a forked one has its imports behind it."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imclass.commands.selftest.signals import catches_signals, cpu_seconds
from imclass.commands.selftest.trainings import overrides

pytestmark = pytest.mark.fault("R6", "R10")
SCRIPT = ["-c", "from imclass.cli import script; script()"]  # what the console script does
Ready = Callable[[int], bool]


def started(*argv: str, **environment: str) -> subprocess.Popen:
    command = [sys.executable, *argv]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )


def until(process: subprocess.Popen, ready: Ready) -> None:
    while process.poll() is None and not ready(process.pid):
        time.sleep(0.002)


def ask(process: subprocess.Popen, how: signal.Signals) -> tuple[int, str, float]:
    """Send a signal; return exit code, stderr, and the CPU seconds from the signal to the end."""
    used, ended_before = cpu_seconds(process.pid), cpu_seconds_of_ended_children()
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    return process.returncode, err, cpu_seconds_of_ended_children() - ended_before - used


def cpu_seconds_of_ended_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def has_loaded(library: str) -> Ready:
    def ready(pid: int) -> bool:
        try:
            return library in Path(f"/proc/{pid}/maps").read_text()
        except OSError:  # it has ended
            return False

    return ready


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return tmp_path / "outputs"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc to see how far a start is")
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
    code, err, cpu = ask(process, how)
    said = f"imclass: stopped by {how.name}; the same command starts it again\n"
    assert (code, err) == (75, said)
    assert cpu <= 2
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
    code, err, _ = ask(process, signal.SIGTERM)
    connection.close()
    assert (code, err) == (75, "")  # rank 0 reports it
