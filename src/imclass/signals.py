"""The one place where signals are received: a flag that the loops look at between steps."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class StopFlag:
    """True once the process was asked to stop (SIGINT, SIGTERM, SIGUSR1); `signal` names by what."""

    def __init__(self) -> None:
        self.signal: str | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def set(self, number: int, frame: FrameType | None = None) -> None:
        self.signal = signal.Signals(number).name


@contextlib.contextmanager
def catch_signals(flag: StopFlag) -> Iterator[None]:
    """Within the block, the signals that ask a job to stop set `flag` instead of ending the process."""
    numbers = [signal.SIGINT, signal.SIGTERM] + ([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])
    previous = {number: signal.signal(number, flag.set) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
