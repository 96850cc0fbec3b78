"""The terminal, and train.log: a copy of what it showed."""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

PLAIN_SECONDS = 10.0  # without a terminal, at most one status line in this time


BAR_SECONDS = 1.0  # how often a bar's figures are refreshed: reading them makes the host wait


class Console:
    """The terminal, and a copy of what it showed in train.log.

    On a terminal there is a progress bar per epoch; elsewhere plain lines, not too many; quiet shows
    the last block only. train.log has it all, also when nobody reads the terminal any more (a closed pipe).
    Unless `enabled`, nothing is shown or written: rank 0 speaks for all.
    """

    def __init__(self, log: Path, *, quiet: bool, enabled: bool = True):
        self._log = (log if enabled else Path(os.devnull)).open("a", encoding="utf-8")
        self._quiet, self._enabled = quiet, enabled
        self._terminal = sys.stdout.isatty() and sys.stderr.isatty() and enabled and not quiet
        self._bar: tqdm | None = None
        self._shown = self._refreshed = 0.0
        self._held: str | None = None

    def line(self, text: str) -> None:
        """Show a line that must not be missed."""
        self._log_line(text)
        if not self._quiet:
            self._show(text)

    def status(self, text: str) -> None:
        """Show the result of an evaluation; without a terminal not before the last line is old enough.

        Until then it is held back, and takes the place of the next line of progress.
        """
        self._log_line(text)
        now = time.monotonic()
        if self._terminal or now - self._shown >= PLAIN_SECONDS:
            self._show_status(text)
        else:
            self._held = text

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
            return self._enabled and now - self._shown >= PLAIN_SECONDS
        epoch, done = divmod(step - 1, steps_per_epoch)
        if self._bar is None or done == 0:
            self._close_bar()
            size = min(steps_per_epoch, total - epoch * steps_per_epoch)
            self._bar = tqdm(
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
            self._show_status(self._held or f"{text}: {shown}")

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def close(self) -> None:
        self._close_bar()
        self._log.close()

    def _log_line(self, text: str) -> None:
        self._log.write(text + "\n")
        self._log.flush()

    def _show_status(self, text: str) -> None:
        self._shown, self._held = time.monotonic(), None
        if not self._quiet:
            self._show(text)

    def _show(self, text: str) -> None:
        if not self._enabled:
            return
        encoding = sys.stdout.encoding or "ascii"
        try:
            tqdm.write(text.encode(encoding, "replace").decode(encoding), file=sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader has left: training continues without it
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, sys.stdout.fileno())
            os.close(nothing)
