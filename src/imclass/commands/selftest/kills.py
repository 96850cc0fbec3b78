"""kill -9 anywhere: the same command then ends the run as if nothing had happened."""

import signal
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from imclass.commands.selftest.points import At
from imclass.commands.selftest.trainings import Training, finish, overrides, wait
from imclass.commands.selftest.trial import KILLED, Bench, Lost, Trial, hit, require_same

FP32, BF16 = ("device.precision=fp32",), ("device.precision=bf16",)
BATCH_NORM = ("model=speednet", "model.dropout=null")
VARIANTS = (FP32, BF16, FP32, BF16, BATCH_NORM)
AGAIN = 20  # kills of one run, at most
# Where a save, and the end of a run, are most easily torn; how often a run reaches it.
NAMED = [
    ("half of last.pt written", 8),
    ("before last.pt becomes previous.pt", 7),
    ("before the rename to last.pt", 8),
    ("after the rename to last.pt", 8),
    ("before the rename to best.pt", 1),
    ("after the rename to best.pt", 1),
    ("before the test", 1),
    ("before the rename to best.safetensors", 1),
    ("before the rename to summary.json", 2),
    ("after the rename to summary.json", 2),
    ("before the rename to report.html", 1),
    ("after the rename to report.html", 1),
]


def trials(bench: Bench) -> Iterator[Trial]:
    """Yield the kills: a third at named points in turn, the others at random times."""
    dice, seconds = bench.dice("kills"), _seconds(bench.folder / "timed")
    wholes = {more: bench.whole(*more) for more in VARIANTS[: bench.kills]}
    for number in range(bench.kills):
        more, group = VARIANTS[number % len(VARIANTS)], dice.random() < 0.5
        who = f"{' '.join(more)}, {'its group' if group else 'the process'}"
        if number % 3 == 0:
            point, often = NAMED[number // 3 % len(NAMED)]
            at = At(point, dice.randint(1, often), group=group)
            yield _named(at, more, wholes[more], f"{who}, {point}, time {at.nth}")
        else:
            moment = dice.random() * seconds
            yield _timed(moment, more, wholes[more], f"{who}, after {moment:.3f} s", group=group)
    for number in range(bench.share(1 / 20)):
        moments = [dice.random() * seconds for _ in range(AGAIN)]
        run = partial(_again_and_again, moments, wholes[FP32])
        yield Trial("kill -9 again and again in one run", f"run {number}", run)


def _seconds(folder: Path) -> float:
    """Return how long a run takes here."""
    folder.mkdir()
    started = time.monotonic()
    finish(overrides("timed"), folder=folder)
    return time.monotonic() - started


def _named(at: At, more: Sequence[str], whole: Path, name: str) -> Trial:
    def run(folder: Path) -> None:
        finish(overrides("killed", *more), at, code=KILLED, folder=folder)
        _require_rerun(folder, more, whole)

    return Trial("kill -9 at a save, a rename, the end", name, run)


def _timed(moment: float, more: Sequence[str], whole: Path, name: str, *, group: bool) -> Trial:
    def run(folder: Path) -> None:
        killed = hit(moment, partial(_kill, more, folder, group))
        _require_rerun(folder, more, whole, killed)

    return Trial("kill -9 at random times", name, run)


def _again_and_again(moments: Sequence[float], whole: Path, folder: Path) -> None:
    killed = hit(moments[0], partial(_kill, (), folder, False))
    for moment in moments[1:]:
        if not _kill((), folder, False, moment, killed):
            break
    _require_rerun(folder, (), whole, killed)


def _kill(more: Sequence[str], folder: Path, group: bool, seconds: float, name: str) -> bool:
    """Start a training and kill it; return False if it had ended well before. Raises Lost."""
    training = Training(overrides(name, *more), folder=folder)
    wait(seconds, lambda: not training.is_alive())
    training.send(signal.SIGKILL, group=group)
    if training.wait() not in (0, KILLED):
        raise Lost(f"exit code {training.exitcode}\n{training.log[-3000:]}")
    return training.exitcode == KILLED


def _require_rerun(folder: Path, more: Sequence[str], whole: Path, name: str = "killed") -> None:
    finish(overrides(name, *more), folder=folder)
    require_same(folder / "outputs" / name, whole)
