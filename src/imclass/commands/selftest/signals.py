"""Signals that ask to stop: exit code 75 soon, and the same command goes on as if nothing had happened."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from imclass.commands.selftest.points import call
from imclass.commands.selftest.trainings import LOG, SECONDS, Training, finish, overrides, wait
from imclass.commands.selftest.trial import Bench, Lost, Trial, hit, require_same
from imclass.errors import EXIT_INTERRUPTED

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
LASTS = 3.0  # seconds that a slowed training takes
COLD = 6.0  # seconds in which a cold start imports torch and begins
CPU_SECONDS = 2.0  # from the signal to the end, of the process that was asked

Ask = Callable[[Path, float, str], bool]


def slowed() -> None:
    """Let what is quick last, so that signals arrive in it."""
    for seconds, function in (
        (0.3, "imclass.training.build:prepare_data"),
        (0.02, "imclass.training.trainer:Trainer.train_step"),
        (0.05, "imclass.evaluation.evaluate:logits_of"),
        (0.2, "imclass.training.lifecycle:write_split_report"),
    ):
        call(function)(lambda seconds=seconds: time.sleep(seconds))


def trials(bench: Bench) -> Iterator[Trial]:
    """Yield signals at random moments, some of them doubled; and some in cold starts of Python."""
    dice, whole = bench.dice("signals"), bench.whole()
    for what, cold, part, lasts in (
        ("signals at random moments", False, 1 / 3, LASTS),
        ("signals in cold starts", True, 1 / 20, COLD),
    ):
        for number in range(bench.share(part)):
            how, double, group = dice.choice(SIGNALS), dice.random() < 0.3, dice.random() < 0.5
            ask = partial(_ask_cold, how, double) if cold else partial(_ask, how, group, double)
            name = f"{how.name}{', twice' if double else ''}, number {number}"
            yield _trial(what, ask, dice.random() * lasts, whole, name)


def _trial(what: str, ask: Ask, moment: float, whole: Path, name: str) -> Trial:
    def run(folder: Path) -> None:
        run_name = hit(moment, partial(ask, folder))
        finish(overrides(run_name), folder=folder)
        require_same(folder / "outputs" / run_name, whole)

    return Trial(what, name, run)


def _ask(how: int, group: bool, double: bool, folder: Path, seconds: float, name: str) -> bool:
    """Ask a slowed training to stop; return whether it did, False if it had ended."""
    training = Training(overrides(name), slowed, folder=folder)
    training.until(lambda: catches_signals(training.pid))
    wait(seconds, lambda: not training.is_alive())
    for _ in range(1 + double):
        training.send(how, group=group)
    return _interrupted(training.wait(), training.log)


def _ask_cold(how: int, double: bool, folder: Path, seconds: float, name: str) -> bool:
    """Ask a program that is starting to stop; return whether it did, False if it had ended."""
    command = [sys.executable, "-m", "imclass", "train", *overrides(name)]
    with (folder / LOG).open("a") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder)},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        wait(SECONDS, lambda: catches_signals(process.pid) or process.poll() is not None)
        wait(seconds, lambda: process.poll() is not None)
        before = spent = cpu_seconds(process.pid)
        for _ in range(1 + double):
            process.send_signal(how)
        end = time.monotonic() + SECONDS
        while process.poll() is None and time.monotonic() < end and not Training.stopping:
            spent = max(spent, cpu_seconds(process.pid))
            time.sleep(0.002)
    finally:
        process.kill()
        process.wait()
    if spent - before > CPU_SECONDS:
        raise Lost(f"{spent - before:.1f} s of CPU time from the signal to the end")
    return _interrupted(process.returncode, (folder / LOG).read_text(errors="replace"))


def _interrupted(code: int | None, log: str) -> bool:
    """Return whether a run was interrupted, False if it had ended before. Raises Lost."""
    if code not in (0, EXIT_INTERRUPTED):
        raise Lost(f"exit code {code} where {EXIT_INTERRUPTED} was due\n{log[-3000:]}")
    return code == EXIT_INTERRUPTED


def catches_signals(pid: int) -> bool:
    """Return whether a process has its handlers; before, Python itself is starting.

    Where the system does not say, it is taken to have them.
    """
    if not Path("/proc/self/status").exists():
        return True
    status = ""
    with contextlib.suppress(OSError):  # it has ended
        status = Path(f"/proc/{pid}/status").read_text()
    mask = next((line for line in status.splitlines() if "SigCgt" in line), "SigCgt: 0")
    caught = int(mask.split()[1], 16)
    return all(caught >> (number - 1) & 1 for number in SIGNALS)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used; 0 where the system does not say, or it has ended."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0
