"""Overhead of `imclass train`: its images/s against a bare training loop's, in one process.

    python scripts/bench/overhead.py [--steps 24] [--model resnet18] [--size 32] [--batch 128]

The bare loop repeats forward, loss, backward and optimizer step on one batch in memory, in the same
precision and memory format. `training` is the rate in metrics.jsonl, between log points: data, augmentation,
loop and logging. `whole` is the rate over wall-clock time, with evaluations and checkpoints. Both are
measured twice, interleaved with the bare loop.
"""

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from imclass.config.check import check_config
from imclass.config.invocation import Invocation
from imclass.runs.folder import open_run
from imclass.training.build import build_job
from imclass.training.lifecycle import begin, conclude, record_failure
from imclass.training.step import Learner


def bare_images_per_second(
    learner: Learner, images: torch.Tensor, targets: torch.Tensor, steps: int
) -> float:
    """Return the rate of forward, loss, backward and optimizer step on one batch in memory."""
    model, optimizer = learner.model.train(), learner.optimizer
    start = 0.0
    for step in range(steps + 2):
        if step == 2:  # the first two steps allocate
            start = time.perf_counter()
        with learner.device.autocast():
            loss = learner.loss(model(images).float(), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    float(loss.detach())
    return steps * len(images) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128)
    options = parser.parse_args()
    shape = {"shape": [3, options.size, options.size], "train": options.batch * options.steps, "test": 256}
    settings = {
        "model": {"name": options.model},
        "dataset": {"name": "synthetic", "synthetic": shape, "val_split": "test"},
        "augment": {"crop": 4, "flip": True},
        "optimizer": {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4, "lr": 1e-3},
        "scheduler": {"final": 0.0},
        "train": {"epochs": 1.0, "batch_size": options.batch, "log_every": "4st"},
        "logger": {"quiet": True},
    }
    bare, training, whole = [], [], []
    invocation = Invocation("train")
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            config = dataclasses.replace(check_config(settings), output_dir=folder)
            run = open_run(config)
            job = build_job(run)
            images, targets = job.trainer.loader.batch(0)
            bare.append(bare_images_per_second(job.trainer.learner, images, targets, options.steps // 2))
            with record_failure(job, invocation):
                begin(job, invocation)
                start = time.perf_counter()
                job.trainer.fit()
                whole.append(options.steps * options.batch / (time.perf_counter() - start))
                conclude(job)
            lines = [
                json.loads(line) for line in Path(job.run.path, "metrics.jsonl").read_text().splitlines()
            ]
            rates = [line["images_per_second"] for line in lines if line["split"] == "train"]
            training.append(statistics.harmonic_mean(rates))
            bare.append(bare_images_per_second(job.trainer.learner, images, targets, options.steps // 2))
    base = statistics.mean(bare)
    print(f"{options.model}, batch {options.batch}, {options.size}x{options.size}, {job.device.precision}")
    for name, rates in (("bare loop", bare), ("command, training", training), ("command, whole", whole)):
        runs = ", ".join(f"{rate:.1f}" for rate in rates)
        rate = statistics.mean(rates)
        print(f"{name:18} {rate:8.1f} images/s   ratio {rate / base:.3f}   (runs: {runs})")


if __name__ == "__main__":
    main()
