"""Training under different allocators: images/s, page faults and peak memory, side by side.

    python scripts/bench/allocator.py [--model resnet18] [--batch 128] [--steps 12] [--rounds 3]

Each round starts every variant once, in a process of its own, and trains on one batch in memory. system: the
C library's defaults. keep: `device.allocator=keep`. huge: torch's own transparent huge pages
(THP_MEM_ALLOC_ENABLE=1). tunable: glibc's. tcmalloc: preloaded, where it is installed.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

VARIANTS = {
    "system": {},
    "keep": {},
    "system, huge": {"THP_MEM_ALLOC_ENABLE": "1"},
    "keep, huge": {"THP_MEM_ALLOC_ENABLE": "1"},
    "keep, tunable": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
}


def measure(variant: str, model: str, batch: int, steps: int, size: int) -> dict[str, float]:
    """Return the figures of a few training steps in this process."""
    from imclass.machine.allocator import keep_freed_memory

    if variant.startswith("keep"):
        assert keep_freed_memory() is None  # no reason why not
    import torch

    from imclass.config.schema import ModelConfig
    from imclass.models import build_model

    torch.manual_seed(0)
    layout = torch.channels_last
    network = build_model(ModelConfig(name=model), in_channels=3, classes=10, size=size).to(
        memory_format=layout
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, fused=True)
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=layout)
    labels = torch.randint(10, (batch,))
    bf16 = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    times, before = [], resource.getrusage(resource.RUSAGE_SELF)
    for step in range(steps + 3):
        if step == 3:  # the first steps grow the heap
            before = resource.getrusage(resource.RUSAGE_SELF)
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = torch.nn.functional.cross_entropy(network(images).float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "images_per_second": batch / statistics.median(times[3:]),
        "page_faults_per_step": (after.ru_minflt - before.ru_minflt) / steps,
        "system_seconds_per_step": (after.ru_stime - before.ru_stime) / steps,
        "peak_memory_mb": after.ru_maxrss / 1024,
        "loss": float(loss.detach()),
    }


def variants() -> dict[str, dict[str, str]]:
    """Return the environment of each variant that this machine has."""
    found = dict(VARIANTS)
    for library in sorted(Path("/usr/lib").glob("*/libtcmalloc_minimal.so.4")):
        found["tcmalloc"] = {"LD_PRELOAD": str(library)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("allocator.json"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.model, options.batch, options.steps, options.size)))
        return
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in variants()}
    for _ in range(options.rounds):
        for name, environment in variants().items():
            command = [sys.executable, *sys.argv, "--one", name]
            done = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, check=True)
            rows[name].append(json.loads(done.stdout))
    options.output.write_text(
        json.dumps({"options": vars(options) | {"output": str(options.output)}, "rows": rows})
    )
    base = statistics.median(row["images_per_second"] for row in rows["system"])
    print(f"{options.model}, batch {options.batch}, {options.size}x{options.size}")
    print(f"{'':14} {'images/s':>24} {'ratio':>6} {'faults/step':>12} {'system s':>9} {'peak MB':>8}")
    for name, runs in rows.items():
        rates = sorted(row["images_per_second"] for row in runs)
        rate = statistics.median(rates)
        median = {key: statistics.median(row[key] for row in runs) for key in runs[0]}
        print(
            f"{name:14} {rate:8.1f} ({rates[0]:.1f}..{rates[-1]:.1f}) {rate / base:6.3f} "
            f"{median['page_faults_per_step']:12.0f} {median['system_seconds_per_step']:9.3f} "
            f"{median['peak_memory_mb']:8.0f}"
        )


if __name__ == "__main__":
    main()
