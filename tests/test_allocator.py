"""Freed memory stays in the process: a training step asks the kernel for no page that it had before."""

import json
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from imclass.machine.allocator import _MMAP_THRESHOLD, keep_freed_memory

# Allocates and frees what one step would, in a process of its own; the allocator is the whole process's.
STEPS = """
import json, resource, sys
import torch
from imclass.config.schema import DeviceConfig
from imclass.machine.device import resolve_device

device = resolve_device(DeviceConfig(type="cpu", allocator=sys.argv[1]), steps=1)
faults = []
for step in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(size << 20) for size in (1, 2, 4, 8)]  # 60 MB
    del tensors
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(json.dumps([faults, list(device.reasons)]))
"""


def steps(allocator: str) -> tuple[list[int], list[str]]:
    """Return the page faults of each step, and the reasons that the header shows."""
    command = [sys.executable, "-c", STEPS, allocator]
    faults, reasons = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return faults, reasons


HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
SMALL_PAGES = resource.getpagesize() == 4096 and not (HUGE.exists() and "[always]" in HUGE.read_text())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
@pytest.mark.skipif(not SMALL_PAGES, reason="the system hands out large pages: few faults in any case")
def test_after_the_first_step_memory_is_reused() -> None:
    faults, reasons = steps("auto")
    assert faults[0] > 10_000  # 60 MB in pages of 4 kB
    assert sum(faults[1:]) < faults[0]  # the heap may grow once more
    assert min(faults[1:]) < 100
    assert "allocator: keep, freed memory serves the next step" in reasons


def test_the_system_gives_large_blocks_back() -> None:
    faults, reasons = steps("system")
    assert not any("allocator" in reason for reason in reasons)
    if platform.libc_ver()[0] == "glibc" and SMALL_PAGES:
        assert min(faults) > 5_000


class OldLibrary:
    """glibc before 2.35, which refuses a threshold above half of a heap of 64 MiB."""

    def __init__(self) -> None:
        self.accepted: list[int] = []

    def gnu_get_libc_version(self) -> bytes:
        return b"2.28"

    def mallopt(self, key: int, value: int) -> int:
        taken = key != _MMAP_THRESHOLD or value <= 32 << 20
        self.accepted += [key] if taken else []
        return int(taken)


def test_an_old_glibc_takes_a_smaller_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    library = OldLibrary()
    monkeypatch.setattr("imclass.machine.allocator.ctypes.CDLL", lambda name: library)
    assert keep_freed_memory() is None
    assert sorted(library.accepted) == [-3, -2, -1]  # each of the three parameters
    monkeypatch.setattr(library, "mallopt", lambda key, value: 0, raising=False)
    assert keep_freed_memory() == "this glibc refuses it"
    monkeypatch.setattr("imclass.machine.allocator.ctypes.CDLL", lambda name: object())
    assert keep_freed_memory() == "no glibc"
