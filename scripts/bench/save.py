"""Cost of a checkpoint: CPU and wall time of our save and load against torch's, in one process.

    python scripts/bench/save.py [--model resnet18] [--repeats 7] [--folder DIR]

What is saved is a model with the momentum of SGD. torch: `torch.save` to a file and `torch.load` of it. ours:
`write_checkpoint` also hashes, syncs, reads back and renames; `read_checkpoint` checks the hash first. The
two are interleaved; the least of each is shown, as a busy machine only ever adds to it.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from imclass.config.components import ModelConfig
from imclass.models import build_model
from imclass.runs.checkpoint import read_checkpoint, write_checkpoint


def seconds(function: Callable[[], object]) -> tuple[float, float]:
    """Return CPU and wall time of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    function()
    return time.process_time() - cpu, time.perf_counter() - wall


def training_state(name: str) -> dict[str, object]:
    """Return the state of a model and its optimizer after a step."""
    model = build_model(ModelConfig(name=name), in_channels=3, classes=10, size=32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder", help="on the disk to measure; default: the temporary folder")
    options = parser.parse_args()
    torch.set_num_threads(1)
    state = training_state(options.model)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        theirs, ours = Path(folder, "theirs.pt"), Path(folder, "ours.pt")
        calls: dict[str, Callable[[], object]] = {
            "save, torch": lambda: torch.save(state, theirs),
            "save, ours": lambda: write_checkpoint(ours, state, {"step": 1}),
            "load, torch": lambda: torch.load(theirs, weights_only=True),
            "load, ours": lambda: read_checkpoint(ours),
        }
        times = {name: [] for name in calls}
        for _ in range(options.repeats):
            for name, call in calls.items():
                times[name].append(seconds(call))
        size = ours.stat().st_size
    print(f"{options.model} with momentum, {size / 1e6:.1f} MB, least of {options.repeats}")
    for name, measured in times.items():
        cpu, wall = (min(column) for column in zip(*measured, strict=True))
        base = min(cpu for cpu, _ in times[f"{name.split(',')[0]}, torch"])
        print(f"{name:12} {cpu:7.3f} s CPU   {wall:7.3f} s wall   {cpu / base:4.1f} x the CPU time of torch")


if __name__ == "__main__":
    main()
