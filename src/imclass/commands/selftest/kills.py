"""kill -9 anywhere: the same command then ends the run as if nothing had happened."""

import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from imclass.commands.selftest.points import At
from imclass.commands.selftest.trainings import Training, finish, overrides, wait
from imclass.commands.selftest.trial import KILLED, Bench, Lost, Trial, require_same

PRECISIONS = ("fp32", "bf16")
# Where a save, and the end of a run, are most easily torn; how often a run comes by.
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
    """Yield the kills: a third at named points in turn, the others at random times; half of each in bf16."""
    dice = bench.dice("kills")
    wholes = {precision: bench.whole(f"device.precision={precision}") for precision in PRECISIONS}
    started = time.monotonic()
    (timed := bench.folder / "timed").mkdir()
    finish(overrides("timed"), folder=timed)
    seconds = time.monotonic() - started
    for number in range(bench.kills):
        precision, group = PRECISIONS[number % 2], dice.random() < 0.5
        more, whole = [f"device.precision={precision}"], wholes[precision]
        who = "its group" if group else "the process"
        if number % 3 == 0:
            point, often = NAMED[number // 3 % len(NAMED)]
            at = At(point, dice.randint(1, often), group=group)
            yield _named(at, more, whole, f"{precision}, {who}, {point}, time {at.nth}")
        else:
            moment = dice.random() * seconds
            yield _timed(moment, more, whole, f"{precision}, {who}, after {moment:.3f} s", group=group)


def _named(at: At, more: Sequence[str], whole: Path, name: str) -> Trial:
    def run(folder: Path) -> None:
        finish(overrides("killed", *more), at, code=KILLED, folder=folder)
        _require_rerun(folder, more, whole)

    return Trial("kill -9 at a save, a rename, the end", name, run)


def _timed(moment: float, more: Sequence[str], whole: Path, name: str, *, group: bool) -> Trial:
    def run(folder: Path) -> None:
        delay = moment
        for attempt in range(10):
            training = Training(overrides(f"killed{attempt}", *more), folder=folder)
            wait(delay, lambda training=training: not training.is_alive())  # type: ignore[misc]
            training.send(signal.SIGKILL, group=group)
            if training.wait() == KILLED:
                break
            if training.exitcode:
                raise Lost(f"exit code {training.exitcode}\n{training.log[-3000:]}")
            delay /= 2  # it had ended before
        _require_rerun(folder, more, whole, f"killed{attempt}")

    return Trial("kill -9 at random times", name, run)


def _require_rerun(folder: Path, more: Sequence[str], whole: Path, name: str = "killed") -> None:
    finish(overrides(name, *more), folder=folder)
    require_same(folder / "outputs" / name, whole)
