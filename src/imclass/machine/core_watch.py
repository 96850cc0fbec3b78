"""Does a training on the CPU get its cores? Where other programs keep them busy, its threads wait."""

import time
from collections.abc import Callable
from pathlib import Path

from imclass.machine.device import Device

TASKS = Path("/proc/self/task")
SECONDS = 10.0  # of training before a verdict
TOO_LONG = 0.25  # of the time; a thread that shares its core evenly waits for half of it


class CoreWatch:
    """Measures how long the threads of this process wait for a core, and warns once.

    Threads of one step meet hundreds of times: where one waits, so do all, and more threads can be slower.
    """

    def __init__(self, device: Device):
        self._threads = device.threads
        self._done = device.device.type != "cpu"
        self._since, self._waited = time.monotonic(), seconds_waited()

    def check(self, warn: Callable[[str], None]) -> None:
        """Hand `warn` a line if a thread has waited too long since this was built or last looked."""
        seconds = time.monotonic() - self._since
        if self._done or seconds < SECONDS:
            return
        waited = seconds_waited()
        longest = max((now - self._waited.get(task, 0) for task, now in waited.items()), default=0)
        share = min(1, longest / seconds)
        self._since, self._waited = time.monotonic(), waited
        if share > TOO_LONG:
            self._done = True
            fewer = "; device.threads=1 may be faster" if self._threads > 1 else ""
            warn(f"other programs keep the cores busy: steps wait for them {share:.0%} of the time{fewer}")


def seconds_waited() -> dict[str, float]:
    """Return how long each thread of this process was ready to run and did not; none where nobody counts."""
    found = {}
    for file in TASKS.glob("*/schedstat"):
        try:
            found[file.parent.name] = int(file.read_text().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):  # a thread that has just ended
            continue
    return found
