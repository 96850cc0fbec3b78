"""A trial: one thing done to runs, in a folder of its own, after which nothing may be lost."""

import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from imclass.commands.selftest.points import At, Patch
from imclass.commands.selftest.trainings import Unexpected, finish, overrides

KILLED = -signal.SIGKILL


class Lost(Unexpected):
    """What a trial has lost, as its message."""


@dataclass(frozen=True)
class Trial:
    """what: its row of the table. name: what is done. run: does it in an empty folder; raises Unexpected.

    count: of attempts in it.
    """

    what: str
    name: str
    run: Callable[[Path], None]
    count: int = 1


@dataclass
class Bench:
    """What trials share: a scratch folder, the number of kills, the seed, and runs to compare with."""

    folder: Path
    kills: int
    seed: int
    _made: dict[tuple[str, ...], Path] = field(default_factory=dict)

    def dice(self, purpose: str) -> random.Random:
        """Return a generator that depends on the seed and on `purpose` alone."""
        return random.Random(f"{self.seed} {purpose}")

    def share(self, part: float) -> int:
        """Return this part of the number of kills, at least 1."""
        return max(1, round(self.kills * part))

    def whole(self, *more: str) -> Path:
        """Return the run that nothing disturbs, with these settings on top of those of RUN."""
        return self._once("whole", more)

    def killed(self) -> Path:
        """Return a run, `killed`, that was killed in its 15th step, after the checkpoint of step 12."""
        return self._once("killed", (), At("in a step", 15), code=KILLED)

    def _once(self, name: str, more: tuple[str, ...], *patches: Patch, code: int = 0) -> Path:
        key = (name, *more)
        if key not in self._made:
            (folder := self.folder / f"{name}-{len(self._made)}").mkdir()
            finish(overrides(name, *more), *patches, code=code, folder=folder)
            self._made[key] = folder / "outputs" / name
        return self._made[key]


def copy_of(run: Path, folder: Path) -> Path:
    """Copy a run into `folder`, below outputs/ as where it was trained; return the copy."""
    return shutil.copytree(run, folder / "outputs" / run.name)


def hit(moment: float, disturb: Callable[[float, str], bool]) -> str:
    """Disturb a run after `moment` seconds; where it had ended before, a new one after half. Return its name.

    disturb: gets the seconds and the name of a run, and returns whether that was still there. Raises Lost.
    """
    for attempt in range(10):
        if disturb(moment / 2**attempt, name := f"disturbed{attempt}"):
            return name
    raise Lost("every run had ended before it was disturbed")


def require_same(run: Path, whole: Path) -> None:
    """Raise Lost unless `run` is the same as `whole`, bit for bit, and `imclass verify` finds it whole."""
    from imclass.runs.same_run import differences
    from imclass.runs.verify import verify_run

    if found := differences(run, whole) or verify_run(run).problems:
        raise Lost("; ".join(found))


def require_said(name: str, log: str, run: Path) -> None:
    """Raise Lost unless a file was named, on the terminal or in train.log."""
    kept = run / "train.log"
    said = log + (kept.read_text(errors="replace") if kept.is_file() else "")
    if name not in said:
        raise Lost(f"no message names {name}\n{log[-3000:]}")


def require_same_weights(run: Path, whole: Path) -> None:
    """Raise Lost unless two runs ended with the same checkpoints; their logs may have lost points."""
    from imclass.runs.same_run import differences

    if found := [text for text in differences(run, whole) if text.startswith(("last.pt", "best.pt"))]:
        raise Lost("; ".join(found))


def require_no_traceback(log: str) -> None:
    """Raise Lost where a command has shown a traceback."""
    if "Traceback (most recent call last)" in log:
        raise Lost(f"a traceback\n{log[-3000:]}")
