"""The one place where signals arrive: SIGINT, SIGTERM and SIGUSR1 ask a job to save and stop.

A signal goes to a process, so its flag, `STOP`, is global. Where stopping needs care (training), loops check
the flag; elsewhere (`STOP.at_once()`) the signal raises `Interrupted`. Before a program has anything to save,
while it imports torch for seconds, it ends the process: an exception may be swallowed within an import.

With several ranks, any of them can get the signal, and all must stop at the same place. So they agree
whenever the flag is checked, and no signal raises in between.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn, Protocol

from imclass.errors import EXIT_INTERRUPTED, ImclassError, Interrupted

if TYPE_CHECKING:
    from types import FrameType

SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])]


class Agreement(Protocol):
    """The collective of `machine.processes.Processes`, which this module must not import (torch)."""

    @property
    def size(self) -> int: ...

    def all_reduce_max(self, *numbers: int) -> list[int]: ...


class StopFlag:
    """Set when the process is asked to stop."""

    def __init__(self) -> None:
        self.number = 0  # of the signal
        self._times = 0
        self.ends_process = False  # after the job, only its outcome is reported: ignore signals then
        self.nothing_to_save = False  # a signal may end the process where it arrives
        self._at_once = False
        self._processes: Agreement | None = None

    def set(self, number: int, frame: "FrameType | None" = None) -> None:
        """Handle a signal. The first asks to save and stop, the second changes nothing, the third exits."""
        self.number = self.number or number
        self._times += 1
        if self._times == 3:
            os._exit(EXIT_INTERRUPTED)  # what is being saved is a temporary file; the checkpoints are whole
        if self._times > 1:  # while what the first one raised is cleaned up
            return
        if self._at_once and self._alone():
            self.raise_if_set()
        elif self.nothing_to_save:
            self._leave()

    def _leave(self) -> NoReturn:
        """End the process with the exit code of an interruption; rank 0 reports it, as elsewhere."""
        if os.environ.get("RANK", "0") == "0":
            line = f"imclass: {self._message(signal.Signals(self.number).name)}\n"
            with contextlib.suppress(OSError):
                os.write(2, line.encode())  # sys.stderr may be in the middle of a write
        os._exit(EXIT_INTERRUPTED)

    @contextlib.contextmanager
    def also_in_long_calls(self) -> Iterator[None]:
        """Within the block, a signal also ends the process while a call that is not Python blocks.

        Python's own handlers wait for its return: those of a rank, for peers that may never come.
        """
        if not self.nothing_to_save:
            yield
            return
        import threading

        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        before = signal.set_wakeup_fd(writer)
        watcher = threading.Thread(target=self._watch, args=(reader,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            os.write(writer, b"\0")
            watcher.join()
            os.close(reader)
            os.close(writer)

    def _watch(self, reader: int) -> None:
        """Leave when the number of one of our signals can be read; return at a 0."""
        while number := os.read(reader, 1)[0]:
            if number in SIGNALS:
                self.number = self.number or number
                self._leave()

    def clear(self) -> None:
        self.number = self._times = 0

    @contextlib.contextmanager
    def shared_by(self, processes: Agreement) -> Iterator[None]:
        """Within the block, all ranks check the flag together: one that is set counts for all."""
        self._processes = processes
        try:
            yield
        finally:
            self._processes = None

    def asked(self) -> str | None:
        """Return the name of the signal that any of the ranks received, or None. A collective."""
        (number,) = self._processes.all_reduce_max(self.number) if self._processes else [self.number]
        return signal.Signals(number).name if number else None

    def raise_if_set(self) -> None:
        """Raise Interrupted if any of the ranks was asked to stop. A collective."""
        if name := self.asked():
            raise Interrupted(self._message(name))

    @staticmethod
    def _message(name: str) -> str:
        return f"stopped by {name}; the same command starts it again"

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within the block, a signal raises Interrupted where it arrives, as nothing there needs saving.

        Also raised at both ends of the block, and in place of an exception that leaves it: code that catches
        everything may have swallowed it, and a library's own clean-up may have failed half-way.
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


def answer_signals() -> None:
    """From now on a signal ends this program with exit code 75, until `STOP.nothing_to_save` is unset.

    For programs only, as the first thing that they do: a library does not touch its process's handlers.
    """
    STOP.ends_process = STOP.nothing_to_save = True
    for number in SIGNALS:
        signal.signal(number, STOP.set)


@contextlib.contextmanager
def catch_signals() -> Iterator[None]:
    """Within the block, the signals that ask a job to stop set `STOP` instead of ending the process.

    After it they do what they did before, or nothing at all in a process that ends then.
    """
    STOP.clear()
    previous = {number: signal.signal(number, STOP.set) for number in SIGNALS}
    try:
        yield
    except ImclassError as error:
        error.after_signal = bool(STOP.number)
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_IGN if STOP.ends_process else handler)
        STOP.clear()


@contextlib.contextmanager
def cleaning_up() -> Iterator[None]:
    """Within the block, a signal raises Interrupted: what is half written is removed."""
    with catch_signals(), STOP.at_once():
        yield
