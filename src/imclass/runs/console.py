"""The terminal, and train.log: a copy of what it showed."""

import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from imclass.endings import printable, silence
from imclass.folding import folded
from imclass.runs.log_file import LogFile

PLAIN_SECONDS = 10.0  # without a terminal, at most one line of progress in this time, ...
PLAIN_SHARE = 1 / 200  # ... and in this share of the time so far, so that a log of days is short
BAR_SECONDS = 1.0  # how often a bar's figures are refreshed: reading them makes the host wait
EVALUATIONS = 100  # a training with more shows about so many on a terminal, where a reader scrolls


class Console:
    """The terminal, and a copy of what it showed in train.log.

    On a terminal there is a progress bar per epoch; elsewhere some lines between evaluations that are far
    apart; quiet shows the last block only. train.log has it all, also when nothing takes the output any more:
    a closed pipe, a terminal that has hung up, a file on a full disk.
    Unless `enabled`, nothing is shown or written: rank 0 speaks for all.
    """

    def __init__(self, log: Path, *, quiet: bool, enabled: bool = True):
        self._quiet, self._enabled = quiet, enabled
        self._out = _Stream("stdout", sys.stdout, self._lost)
        self._err = _Stream("stderr", sys.stderr, self._lost)
        self._log = LogFile(log if enabled else Path(os.devnull), self.warn)
        self._terminal = sys.stdout.isatty() and sys.stderr.isatty() and enabled and not quiet
        self._bar: tqdm | None = None
        self._scrolls = sys.stdout.isatty()
        self._thinned = False  # whether a line has said that evaluations are left out
        self._shown = self._refreshed = -math.inf
        self._begun = time.monotonic()

    def line(self, text: str) -> None:
        """Show a line that must not be missed."""
        self._log_line(text)
        if not self._quiet:
            self._show(text)

    def warn(self, text: str) -> None:
        """Show that a log or a stream fails, also when quiet: on stderr, as stdout may be what fails."""
        self._log_line(f"warning: {text}")
        self._show(f"imclass: warning: {text}", self._err)

    def status(self, text: str, number: int = 1, total: int = 1, *, is_last: bool = False) -> None:
        """Show the result of evaluation `number` of `total`; a terminal gets about EVALUATIONS and the last.

        Elsewhere each is shown, since the reader may be a program; progress waits for its turn after it.
        """
        self._log_line(text)
        every = math.ceil(total / EVALUATIONS) if self._scrolls else 1
        if is_last or number % every == 0:
            self._show_status(text)
        elif not self._thinned:
            self._thinned = True
            self._show_status(f"shown below: 1 of {every} evaluations; metrics.csv has all {total:,}")

    def note(self, text: str) -> None:
        """Write a line to train.log only: the terminal shows it in another way."""
        self._log_line(text)

    def block(self, text: str) -> None:
        """Show the last block, also when quiet."""
        self._close_bar()
        self._log_line(text)
        self._show(text)

    def advance(self, step: int, steps_per_epoch: int, total: int) -> bool:
        """Move to the end of `step` of `total`; return whether `progress` should bring fresh figures."""
        now = time.monotonic()
        if not self._terminal:
            return self._enabled and self._is_due(now)
        epoch, done = divmod(step - 1, steps_per_epoch)
        if self._bar is None or done == 0:
            self._close_bar()
            size = min(steps_per_epoch, total - epoch * steps_per_epoch)
            self._bar = tqdm(
                file=self._err,
                total=size,
                initial=done,
                desc=f"epoch {epoch + 1}",
                unit="batch",
                leave=False,
                dynamic_ncols=True,
                bar_format="{desc} |{bar}| {n_fmt}/{total_fmt}, {remaining} left{postfix}",
            )
        self._bar.update()
        return now - self._refreshed >= BAR_SECONDS

    def progress(self, text: str, figures: Mapping[str, float], images_per_second: float) -> None:
        self._refreshed = time.monotonic()
        shown = f"loss {figures['loss']:.3f}, acc {figures['accuracy']:.1%}, {images_per_second:,.0f} img/s"
        if self._bar is not None:
            self._bar.set_postfix_str(shown)
        else:
            self._log_line(f"{text}: {shown}")
            self._show_status(f"{text}: {shown}")

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def close(self) -> None:
        self._close_bar()
        self._log.close()

    @property
    def unwritten(self) -> list[bytes]:
        """The lines that train.log lacks, as the disk has not taken them."""
        return self._log.unwritten

    def _log_line(self, text: str) -> None:
        self._log.write(f"{printable(text)}\n".encode())

    def _is_due(self, now: float) -> bool:
        return now - self._shown >= max(PLAIN_SECONDS, PLAIN_SHARE * (now - self._begun))

    def _show_status(self, text: str) -> None:
        self._shown = time.monotonic()
        if not self._quiet:
            self._show(text)

    def _show(self, text: str, stream: "_Stream | None" = None) -> None:
        if not self._enabled:
            return
        if self._bar is not None:
            self._bar.clear()
        target = stream or self._out
        target.write(folded(printable(text), target) + "\n")
        if self._bar is not None:
            self._bar.refresh()

    def _lost(self, name: str, error: OSError) -> None:
        """Warn once that a stream failed; a closed pipe needs no warning."""
        if not isinstance(error, BrokenPipeError):
            self.warn(f"{name}: {error.strerror or error}; training continues, and train.log has the output")


class _Stream:
    """stdout or stderr, as long as it takes what is written. lost: called once, when it does no more."""

    def __init__(self, name: str, file: TextIO, lost: Callable[[str, OSError], None]):
        self._name, self._file, self._lost = name, file, lost
        self._gone = False
        self.encoding = file.encoding or "ascii"

    def write(self, text: str) -> None:
        if self._gone:
            return
        try:
            self._file.write(text.encode(self.encoding, "replace").decode(self.encoding))
            self._file.flush()
        except OSError as error:
            self._gone = True
            silence(self._file)
            self._lost(self._name, error)

    def flush(self) -> None:
        """Do nothing: all is written at once."""

    def isatty(self) -> bool:
        return self._file.isatty()

    def fileno(self) -> int:
        return self._file.fileno()  # tqdm asks for the terminal's width
