"""Overhead of `imclass train`: its images/s against a bare training loop's, side by side.

    python scripts/bench/overhead.py [--case resnet18] [--rounds 5] [--output overhead.json]

The bare loop repeats forward, loss, backward and optimizer step on one batch in memory, in the same precision
and memory format; `bare, system` has the C library's own allocator, the others that of imclass. `training` is
the whole command but for its evaluations: crop, flip and cutout, metrics, logs, progress bar, an average of
the weights, checkpoints. `evaluation` is compared with `bare forward`. Each measurement has a process of its
own, and each round starts all of them once.
"""

import argparse
import dataclasses
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

CASES: dict[str, dict[str, Any]] = {
    "resnet18": {"model": "resnet18", "shape": [3, 32, 32], "batch": 128, "steps": 24, "goal": 0.98},
    "speednet": {"model": "speednet", "shape": [3, 32, 32], "batch": 512, "steps": 20, "goal": 0.95},
    "lenet": {"model": "lenet", "shape": [1, 28, 28], "batch": 256, "steps": 400, "goal": 0.90},
    "default": {"model": "resnet18", "shape": [1, 28, 28], "batch": 32, "steps": 80, "goal": 0.95},
}
KINDS = "bare, system", "bare", "training", "bare forward"
WARM_UP = 4  # steps: the first allocate


def settings_of(case: dict[str, Any], allocator: str) -> dict[str, Any]:
    """Return a configuration of the case: synthetic images, evaluated once, at the end."""
    images = case["batch"] * case["steps"]
    return {
        "model": {"name": case["model"]},
        "dataset": {
            "name": "synthetic",
            "synthetic": {"shape": case["shape"], "train": images, "test": images},
            "val_split": "test",
        },
        "augment": {"crop": 4, "flip": True, "cutout": 8},
        "optimizer": {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4, "lr": 1e-3},
        "scheduler": {"final": 0.0},
        "train": {"epochs": 2.0, "batch_size": case["batch"], "eval_every": "2ep", "ema": 0.999},
        "device": {"allocator": allocator},
        "logger": {"plots": False},
    }


def measure(case: dict[str, Any], what: str) -> list[float]:
    """Return images/s of one measurement in this process; of "training", and of its evaluation."""
    from imclass.config.check import check_config
    from imclass.config.invocation import Invocation
    from imclass.runs.folder import open_run
    from imclass.training.build import build_job
    from imclass.training.lifecycle import begin

    settings = settings_of(case, "system" if what == "bare, system" else "auto")
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        job = build_job(open_run(dataclasses.replace(check_config(settings), output_dir=folder)))
        if what.startswith("bare"):
            return [bare(job, case["steps"], forward_only=what == "bare forward")]
        begin(job, Invocation("train"))
        job.trainer.fit()
        summary = job.trainer.summary()
    return [summary["images_per_second"], case["batch"] * case["steps"] / summary["seconds"]["evaluate"]]


def bare(job: Any, steps: int, *, forward_only: bool) -> float:
    """Return images/s of passes over one batch in memory."""
    import torch

    learner = job.trainer.learner
    images, targets = job.trainer.loader.batch(0)
    model = learner.model.train(not forward_only)

    def forward() -> None:
        with torch.inference_mode(), learner.device.autocast():
            model(images)

    def step() -> None:
        with learner.device.autocast():
            loss = learner.loss(model(images).float(), targets)
        learner.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        learner.optimizer.step()

    once: Callable[[], None] = forward if forward_only else step
    for _ in range(WARM_UP):
        once()
    start = time.perf_counter()
    for _ in range(steps):
        once()
    return steps * len(images) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", choices=CASES, action="append", help="default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("overhead.json"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(CASES[options.case[0]], options.one)))
        return
    results: dict[str, dict[str, list[float]]] = {}
    for name in options.case or CASES:
        rates = results[name] = {kind: [] for kind in (*KINDS, "evaluation")}
        for _ in range(options.rounds):
            for kind in KINDS:
                command = [sys.executable, __file__, "--case", name, "--one", kind]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
                for of, rate in zip((kind, "evaluation"), json.loads(done.stdout), strict=False):
                    rates[of].append(rate)
        show(name, rates)
        options.output.write_text(json.dumps(results, indent=1))


def show(name: str, rates: dict[str, list[float]]) -> None:
    """Print the rates of a case, and their ratios round by round."""
    case = CASES[name]
    print(f"{name}: {case['model']}, batch {case['batch']}, {'x'.join(map(str, case['shape']))}")
    for kind, values in rates.items():
        print(f"  {kind:14} {spread(values, '.1f')} images/s")
    for kind, base in (("training", "bare"), ("training", "bare, system"), ("evaluation", "bare forward")):
        ratios = [ours / theirs for ours, theirs in zip(rates[kind], rates[base], strict=True)]
        goal = {"bare": case["goal"], "bare, system": 1.05, "bare forward": 0.95}[base]
        print(f"  {kind} / {base}: {spread(ratios, '.3f')}, goal {goal:.2f}", flush=True)


def spread(values: list[float], form: str) -> str:
    """Return 'median (minimum to maximum)'."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    main()
