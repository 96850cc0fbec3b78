"""Run trials side by side, show how far they are, and keep what was lost."""

import concurrent.futures
import importlib
import os
import shlex
import shutil
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from imclass.commands.selftest.trainings import Training, Unexpected
from imclass.commands.selftest.trial import Bench, Trial
from imclass.errors import first_line

SHOWN = 3  # losses in each row; the folders of the others stay as well
WORKERS = 8  # at most; two processes of a job, or 16 of a crowd, come on top
BAR = "{desc} {percentage:3.0f}% {bar} {elapsed}"  # fits into any terminal
HEADER = ("what was done", "tried", "survived", "lost")


@dataclass
class Row:
    """One row of the table."""

    what: str
    tried: int = 0
    lost: int = 0

    def __str__(self) -> str:
        return _columns(self.what, self.tried, self.tried - self.lost, self.lost)


class Show:
    """The table, row by row, and on a terminal a bar below it."""

    def __init__(self) -> None:
        terminal = sys.stdout.isatty() and sys.stderr.isatty()
        self._bar = tqdm(total=1, disable=not terminal, leave=False, bar_format=BAR, dynamic_ncols=True)

    def line(self, text: str) -> None:
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()

    def expect(self, trials: int, name: str) -> None:
        self._bar.reset(trials)
        self._bar.set_description_str(f"{name:8}")

    def advance(self) -> None:
        self._bar.update()

    def close(self) -> None:
        self._bar.close()


def run_groups(bench: Bench, groups: Iterable[str]) -> list[Row]:
    """Run the trials of these modules, show their table, and return its rows.

    The folder of a trial that lost something stays; that of any other is removed.
    """
    show = Show()
    rows: list[Row] = []
    show.line(_columns(*HEADER))
    try:
        for group in groups:
            show.expect(1, group)  # what it compares with is made first; how many trials follow is not known
            found: dict[str, Row] = {}
            for trial, reason in _run(group, _trials(bench, group), bench.folder, show):
                row = found.setdefault(trial.what, Row(trial.what))
                row.tried += trial.count
                row.lost += reason is not None
                if reason is not None and row.lost <= SHOWN:
                    show.line(reason)
            for row in found.values():
                show.line(str(row))
            rows += found.values()
    finally:
        show.close()
    return rows


def _trials(bench: Bench, group: str) -> list[Trial]:
    """Return the trials of a group; one with the reason, where even what they compare with cannot be made."""
    try:
        return list(importlib.import_module(f"imclass.commands.selftest.{group}").trials(bench))
    except Unexpected as error:
        reason = error

        def fail(folder: Path) -> None:
            raise reason

        return [Trial(f"{group}: what to compare with", "undisturbed", fail)]


def _run(group: str, trials: Sequence[Trial], folder: Path, show: Show) -> Iterator[tuple[Trial, str | None]]:
    """Yield each trial with the reason if it lost something, as they end."""
    show.expect(len(trials), group)
    pool = concurrent.futures.ThreadPoolExecutor(min(WORKERS, _cores()))
    try:
        numbered = enumerate(trials)
        futures = {pool.submit(_run_one, t, folder / f"{t.what.split()[0]}{n}"): t for n, t in numbered}
        for future in concurrent.futures.as_completed(futures):
            reason = future.result()
            show.advance()
            yield futures[future], reason
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        Training.stop_all()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _run_one(trial: Trial, folder: Path) -> str | None:
    """Run a trial in its folder; return what it lost, and commands to look at it."""
    folder.mkdir()
    try:
        trial.run(folder)
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        (folder / "lost.txt").write_text(f"{trial.what}: {trial.name}\n{text}")
        runs = sorted(folder.glob("outputs/*/config.yaml"))
        look = [f"imclass verify {shlex.quote(str(run.parent))}" for run in runs[-1:]]
        look = [f"less {shlex.quote(str(folder / 'lost.txt'))}", *look]
        return "\n".join(
            [f"lost: {trial.what}: {trial.name}: {first_line(error)}", *(f"  {c}" for c in look)]
        )
    shutil.rmtree(folder, ignore_errors=True)
    return None


def _columns(what: str, tried: object, survived: object, lost: object) -> str:
    return f"{what:52} {tried!s:>7} {survived!s:>9} {lost!s:>6}"


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
