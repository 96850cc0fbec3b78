"""How many cores this process may use, and how many of them other programs leave idle."""

import math
import os
import time
from pathlib import Path

GLANCE, LOOK = 0.1, 1.0  # seconds: a first look, and a longer one where that found the cores busy
_STAT, _OWN_GROUP, _GROUPS = Path("/proc/stat"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return the cores of this process, at most what the quota of its container allows."""
    return max(1, math.ceil(min(len(_own_cores()), cpu_quota())))


def idle_cores() -> float | None:
    """Return how many of the cores of this process are idle while it waits; None where that is not known.

    Takes GLANCE seconds, and LOOK more where something runs there: it may have ended.
    """
    cores = _own_cores()
    idle = _idle_within(cores, GLANCE)
    if idle is not None and round(idle) < len(cores):
        idle = _idle_within(cores, LOOK)
    return idle


def cpu_quota() -> float:
    """Return the CPU time per second that the cgroup of this process may take; inf without a limit."""
    try:
        line = _OWN_GROUP.read_text().strip().splitlines()[-1]
    except (OSError, IndexError):
        return math.inf
    here = _GROUPS / line.rpartition(":")[2].lstrip("/")
    folders = [folder for folder in (here, *here.parents) if folder.is_relative_to(_GROUPS)]
    return min(map(_quota_of, folders), default=math.inf)


def _quota_of(folder: Path) -> float:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return math.inf


def _own_cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _idle_within(cores: set[int], seconds: float) -> float | None:
    before = _ticks(cores)
    time.sleep(seconds)
    after = _ticks(cores)
    if not before or before.keys() != after.keys():
        return None
    shares = []
    for core, (idle, total) in after.items():
        passed = total - before[core][1]
        shares.append((idle - before[core][0]) / passed if passed else 1.0)
    return sum(shares)


def _ticks(cores: set[int]) -> dict[int, tuple[int, int]]:
    """Return for each core the ticks that it was idle, and all ticks; empty where nobody counts them."""
    try:
        rows = [line.split() for line in _STAT.read_text().splitlines()]
        counted = {row[0]: list(map(int, row[1:9])) for row in rows if row[0].startswith("cpu")}
    except (OSError, ValueError):
        return {}
    # user nice system idle iowait irq softirq steal; stolen time is another machine's
    found = {core: counted[f"cpu{core}"] for core in cores if f"cpu{core}" in counted}
    return {core: (ticks[3] + ticks[4], sum(ticks)) for core, ticks in found.items()}
