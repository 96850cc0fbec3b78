"""The one place where signals are received: SIGINT, SIGTERM and SIGUSR1 ask a job to save and stop.

Signals come to a process, so the flag that they set belongs to the process too: `STOP`. Where stopping
needs care (training), loops look at the flag; elsewhere (`STOP.at_once()`) the signal raises `Interrupted`.

Of many processes that train together, any can be asked, and all must stop at the same place. So they agree
wherever the flag is looked at, and no signal raises in between.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Protocol

from imclass.errors import EXIT_INTERRUPTED, Interrupted

SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])]


class Agreement(Protocol):
    """How processes agree: `machine.processes.Processes`, which this module must not import (torch)."""

    @property
    def size(self) -> int: ...

    def all_reduce_max(self, *numbers: int) -> list[int]: ...


class StopFlag:
    """Set once the process was asked to stop."""

    def __init__(self) -> None:
        self.number = 0  # of the signal
        self._times = 0
        self.ends_process = False  # what comes after the job is telling its outcome, undisturbed
        self._at_once = False
        self._processes: Agreement | None = None

    def set(self, number: int, frame: FrameType | None = None) -> None:
        """Handle a signal. The first asks to save and stop, the second changes nothing, the third exits."""
        self.number = self.number or number
        self._times += 1
        if self._times == 3:
            os._exit(EXIT_INTERRUPTED)  # what is being saved is a temporary file; the checkpoints are whole
        if self._at_once and self._alone() and self._times == 1:  # not once more while that is cleaned up
            self.raise_if_set()

    def clear(self) -> None:
        self.number = self._times = 0

    @contextlib.contextmanager
    def shared_by(self, processes: Agreement) -> Iterator[None]:
        """Within the block, the processes look at the flag together: one that is set counts for all."""
        self._processes = processes
        try:
            yield
        finally:
            self._processes = None

    def asked(self) -> str | None:
        """Return the name of the signal by which this process, or one that shares the flag, was asked."""
        (number,) = self._processes.all_reduce_max(self.number) if self._processes else [self.number]
        return signal.Signals(number).name if number else None

    def raise_if_set(self) -> None:
        """Raise Interrupted if this process, or one that shares the flag, was asked to stop."""
        if name := self.asked():
            raise Interrupted(f"stopped by {name}; the same command starts it again")

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within the block, a signal raises Interrupted where it arrives: nothing there is lost by that.

        Raised at both ends of the block too, and instead of an exception that leaves it: code that catches
        everything may have swallowed it, and a library's own cleaning up may fail half-way.
        """
        before, self._at_once = self._at_once, True
        try:
            self.raise_if_set()
            yield
            self.raise_if_set()
        except Exception:
            if self._alone():
                self.raise_if_set()
            raise
        finally:
            self._at_once = before

    def _alone(self) -> bool:
        return self._processes is None or self._processes.size == 1


STOP = StopFlag()


@contextlib.contextmanager
def catch_signals() -> Iterator[None]:
    """Within the block, the signals that ask a job to stop set `STOP` instead of ending the process.

    After it they do what they did before, or nothing at all in a process that ends then.
    """
    STOP.clear()
    previous = {number: signal.signal(number, STOP.set) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_IGN if STOP.ends_process else handler)
        STOP.clear()
