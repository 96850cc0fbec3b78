"""One line on how far a sweep is: kept up to date on a terminal, repeated now and then elsewhere."""

import shutil
import statistics
import sys
import time

from imclass.config.durations import clock
from imclass.config.metric import Metric
from imclass.folding import folded
from imclass.sweeps.ledger import Counts, Ledger

_TERMINAL_SECONDS, _PLAIN_SECONDS = 0.5, 30.0


class ProgressLine:
    """workers: how many trials run side by side."""

    def __init__(self, metric: Metric, workers: int):
        self._metric, self._workers = metric, workers
        self._terminal = sys.stdout.isatty()
        self._shown, self._text = 0.0, ""

    def begin(self, ledger: Ledger) -> None:
        """Print what there is already of a sweep that is resumed."""
        counts = ledger.counts()
        if counts.ended or counts.running or counts.interrupted:
            self.say(f"resuming: {describe(counts, self._metric, self._workers)}")

    def show(self, ledger: Ledger) -> None:
        """Update the line, unless that was done a moment ago."""
        now = time.monotonic()
        if self._shown and now - self._shown < (_TERMINAL_SECONDS if self._terminal else _PLAIN_SECONDS):
            return
        self._shown = now
        text = describe(ledger.counts(), self._metric, self._workers)
        if text != self._text:
            if self._terminal:  # a line that wraps could not be taken back
                print(f"\r\x1b[2K{text[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)
            else:
                print(text, flush=True)
            self._text = text

    def end(self, ledger: Ledger) -> None:
        text = describe(ledger.counts(), self._metric, self._workers)
        if self._terminal or text != self._text:
            self.say(text)

    def say(self, text: str) -> None:
        """Print a line of its own above the progress."""
        if self._terminal and self._text:
            print("\r\x1b[2K", end="")
        self._text, self._shown = "", 0.0
        print(folded(text, sys.stdout), flush=True)


def describe(counts: Counts, metric: Metric, workers: int) -> str:
    """Return the line: done, running, pruned, failed, best so far, time left."""
    parts = [
        f"{counts.ended} of {counts.total} done",
        f"{counts.running} running",
        *([f"{counts.interrupted} interrupted"] if counts.interrupted else []),
        f"{counts.pruned} pruned",
        f"{counts.failed} failed",
    ]
    if counts.best is not None:
        parts.append(f"best val.{metric.name} {metric.show(counts.best)}")
    if counts.seconds and counts.total > counts.ended:
        left = statistics.fmean(counts.seconds) * (counts.total - counts.ended) / max(workers, counts.running)
        parts.append(f"about {clock(left)} left")
    return ", ".join(parts)
