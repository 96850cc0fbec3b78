"""Scaling of distributed training: measured here with 1 and 2 processes, computed for 8, 64 and 1,024 GPUs.

    python scripts/bench/scaling.py [--steps 6] [--batch 32] [--size 32] [--models resnet18 resnet50]
    python scripts/bench/scaling.py --images-per-second 25000 8000    # of one GPU, in the order of --models

Measured in turn, twice unless --repeats says otherwise: the same global batch in 1 process with 1 thread,
1 process with 2 threads, and 2 processes with 1 thread each; and a gloo all-reduce of the model's gradient
bytes.

Computed from the rate of one process, measured here or given by --images-per-second:
  compute     images per GPU / rate, at least --floor-ms, below which a GPU only waits for kernel launches
  all-reduce  a ring within each node, then, on each GPU's shard, a ring across nodes:
              2 (n-1)/n bytes / bandwidth + 2 (n-1) latency per message; messages of 25 MiB, DDP's bucket size
  exposed     the part that does not overlap with --overlap of the backward pass (two thirds of compute),
              at least the last message
  efficiency  time of one GPU at its full rate / (GPUs * (compute + exposed))
"""

import argparse
import json
import math
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from imclass.config.check import check_config
from imclass.config.schema import ModelConfig
from imclass.machine.joining import joined_processes
from imclass.machine.processes import Processes
from imclass.models import build_model
from imclass.runs.folder import open_run
from imclass.training.build import build_job

EPOCH = 50_000  # images: CIFAR
MESSAGE = 25 * 2**20  # bytes


@dataclass(frozen=True)
class Network:
    """Assumed network of one GPU: bytes per second, seconds."""

    node: int = 8  # GPUs
    inside: float = 0.8 * 450e9  # NVLink
    inside_latency: float = 3e-6
    between: float = 0.8 * 50e9  # InfiniBand of 400 Gb/s, one port a GPU
    between_latency: float = 5e-6

    def all_reduce_seconds(self, size: int, gpus: int) -> float:
        """Return the time of an all-reduce of `size` bytes over `gpus`."""
        local, nodes, messages = min(gpus, self.node), math.ceil(gpus / self.node), math.ceil(size / MESSAGE)
        inside = _ring(size, local, self.inside, messages * self.inside_latency)
        return inside + _ring(size / local, nodes, self.between, messages * self.between_latency)


def _ring(size: float, members: int, bandwidth: float, latency: float) -> float:
    return 2 * (members - 1) / members * size / bandwidth + 2 * (members - 1) * latency


@dataclass(frozen=True)
class Row:
    """One row of the table; times in seconds."""

    gpus: int
    images: float  # per GPU and step
    compute: float
    all_reduce: float
    exposed: float
    efficiency: float

    @property
    def batch(self) -> int:
        return round(self.images * self.gpus)


def expect(
    gpus: int, images: float, rate: float, gradients: int, network: Network, floor: float, overlap: float
) -> Row:
    """Predict a step on `gpus` with `images` each. rate: images/s of one. gradients: bytes."""
    compute = max(floor, images / rate)
    all_reduce = network.all_reduce_seconds(gradients, gpus)
    last = all_reduce / math.ceil(gradients / MESSAGE)
    exposed = max(last, all_reduce - overlap * compute * 2 / 3)
    return Row(gpus, images, compute, all_reduce, exposed, images / rate / (compute + exposed))


def table(rows: list[Row]) -> Iterator[str]:
    yield (
        f"{'GPUs':>6} {'batch':>8} {'per GPU':>8} {'compute':>10} {'all-reduce':>11} {'exposed':>9} "
        f"{'efficiency':>10} {'images/s':>12} {'steps/epoch':>11}"
    )
    for row in rows:
        start = f"{row.gpus:6,} {row.batch:8,} {row.images:8.4g} "
        if row.images < 2:
            yield start + "  fewer than 2 images: no batch norm, nothing to do"
            continue
        steps = EPOCH // row.batch
        rate = row.batch / (row.compute + row.exposed)
        yield start + (
            f"{1e3 * row.compute:7.2f} ms {1e3 * row.all_reduce:8.2f} ms {1e3 * row.exposed:6.2f} ms "
            f"{row.efficiency:10.0%} {rate:12,.0f} {f'{steps:,}' if steps else 'no full one':>11}"
        )


def gradient_bytes(model: str, size: int) -> int:
    network = build_model(ModelConfig(name=model), in_channels=3, classes=10, size=size)
    return sum(4 * p.numel() for p in network.parameters() if p.requires_grad)


def work(rank: int, size: int, threads: int, port: int, model: str, options: argparse.Namespace) -> None:
    """Run one rank of a measurement; rank 0 writes seconds per step and per all-reduce to a file."""
    if size > 1:
        names = {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in names.items()})
    shape = {"shape": [3, options.size, options.size], "train": 4 * options.batch, "test": 16}
    settings = {
        "model": {"name": model},
        "dataset": {"name": "synthetic", "synthetic": shape, "val_split": "test"},
        "augment": {"crop": 4, "flip": True},
        "optimizer": {"momentum": 0.9, "nesterov": True, "lr": 1e-3},
        "scheduler": {"final": 0.0},
        "train": {"batch_size": options.batch},
        "device": {"type": "cpu", "threads": threads},
        "logger": {"quiet": True, "tensorboard": False},
    }
    with joined_processes("cpu") as processes:
        config = replace(check_config(settings), output_dir=options.folder)
        run = processes.broadcast(lambda: open_run(config))
        trainer = build_job(run, processes).trainer
        trainer.learner.model.train()
        seconds = [_seconds(trainer.train_step) for _ in range(options.steps + 2)][
            2:
        ]  # the first two allocate
        sums = _all_reduce_seconds(processes, gradient_bytes(model, options.size), options.steps)
        trainer.logger.close()
        if processes.is_first:
            found = {"step": statistics.median(seconds), "all_reduce": sums}
            Path(options.folder, "found.json").write_text(json.dumps(found))


def _all_reduce_seconds(processes: Processes, size: int, times: int) -> float:
    tensor = torch.ones(size // 4)
    return statistics.median(_seconds(lambda: processes.all_reduce_sum(tensor)) for _ in range(times + 1))


def _seconds(action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def measure(size: int, threads: int, model: str, options: argparse.Namespace) -> dict[str, float]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["imclass.training.build"])  # torch is imported once
    with tempfile.TemporaryDirectory() as folder:
        own = argparse.Namespace(**{**vars(options), "folder": folder})
        workers = [
            context.Process(target=work, args=(rank, size, threads, port, model, own)) for rank in range(size)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return json.loads(Path(folder, "found.json").read_text())


def measured_here(model: str, options: argparse.Namespace) -> float:
    """Print a model's measurements; return the images/s of one process with one thread."""
    kinds = {
        "1 process, 1 thread": (1, 1),
        "1 process, 2 threads": (1, 2),
        "2 processes, 1 thread each": (2, 1),
    }
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for _ in range(options.repeats):
        for kind, (size, threads) in kinds.items():
            found[kind].append(measure(size, threads, model, options))
    print(f"\n{model}, batch {options.batch} of 3x{options.size}x{options.size}, measured on this CPU")
    rates = {kind: [options.batch / run["step"] for run in runs] for kind, runs in found.items()}
    one = statistics.mean(rates["1 process, 1 thread"])
    for kind, values in rates.items():
        mean, both = statistics.mean(values), ", ".join(f"{value:.1f}" for value in values)
        print(f"  {kind:27} {mean:8.1f} images/s   {mean / one:5.2f} times   (runs: {both})")
    pair = found["2 processes, 1 thread each"]
    size, seconds = gradient_bytes(model, options.size), statistics.mean(run["all_reduce"] for run in pair)
    step = statistics.mean(run["step"] for run in pair)
    print(f"  all-reduce of {size / 1e6:.1f} MB over gloo: {1e3 * seconds:.1f} ms, step {1e3 * step:.0f} ms")
    return one


def assumptions(network: Network, floor: float, overlap: float) -> str:
    latencies = f"{1e6 * network.inside_latency:.0f} and {1e6 * network.between_latency:.0f} us"
    return (
        f"\nnetwork, assumed: NVLink {network.inside / 1e9:.0f} GB/s within {network.node} GPUs, InfiniBand "
        f"{network.between / 1e9:.0f} GB/s per GPU between nodes (80 % of nominal); latency {latencies}\n"
        f"assumed: {overlap:.0%} of the backward pass overlaps with messages, except the last; "
        f"steps take at least {floor:g} ms; float32 gradients"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=2, help="measurements of each, in turn")
    parser.add_argument("--batch", type=int, default=32, help="measured global batch")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--images-per-second", type=float, nargs="+", help="of one GPU, for each of --models")
    parser.add_argument(
        "--no-measurement", action="store_true", help="with --images-per-second: compute only"
    )
    parser.add_argument("--global-batch", type=int, default=1024, help="fixed in the first table")
    parser.add_argument("--batch-per-gpu", type=int, default=128, help="fixed in the second table")
    parser.add_argument(
        "--floor-ms", type=float, help="shortest step; default 4 with --images-per-second, else 0"
    )
    parser.add_argument("--overlap", type=float, default=0.8)
    options = parser.parse_args()
    stated = options.images_per_second
    if stated is not None and len(stated) != len(options.models):
        parser.error(f"--images-per-second: {len(stated)} rates for {len(options.models)} models")
    if stated is None and options.no_measurement:
        parser.error("--no-measurement: needs --images-per-second")
    here = [0.0 if options.no_measurement else measured_here(m, options) for m in options.models]
    floor = options.floor_ms if options.floor_ms is not None else (0.0 if stated is None else 4.0)
    network = Network()
    print(assumptions(network, floor, options.overlap))
    for model, rate in zip(options.models, stated or here, strict=True):
        source = "given, not measured" if stated else "measured here on one CPU thread, not a GPU"
        size = gradient_bytes(model, options.size)
        print(f"\n{model}: {size / 1e6:.1f} MB of gradients, {rate:,.0f} images/s a process ({source})")
        for name, share in (
            (f"fixed global batch of {options.global_batch:,}", lambda n: options.global_batch / n),
            (f"fixed batch of {options.batch_per_gpu:,} a GPU", lambda n: options.batch_per_gpu),
        ):
            print(f" {name}")
            counts = (1, 8, 64, 1024)
            rows = [expect(n, share(n), rate, size, network, floor / 1e3, options.overlap) for n in counts]
            print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
