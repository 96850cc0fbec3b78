"""Freed memory stays in the process: a training step asks the kernel for no page that it had before."""

import json
import platform
import subprocess
import sys

import pytest

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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_after_the_first_step_memory_is_reused() -> None:
    faults, reasons = steps("auto")
    assert faults[0] > 10_000  # 60 MB in pages of 4 kB
    assert sum(faults[1:]) < faults[0]  # the heap may grow once more
    assert min(faults[1:]) < 100
    assert "allocator: keep, freed memory serves the next step" in reasons


def test_the_system_gives_large_blocks_back() -> None:
    faults, reasons = steps("system")
    assert not any("allocator" in reason for reason in reasons)
    if platform.libc_ver()[0] == "glibc":
        assert min(faults) > 5_000
