"""Training beside other programs: images/s by the number of threads, and how threads wait for each other.

    python scripts/bench/crowded.py [--model resnet18] [--batch 32] [--seconds 8] [--busy 0 1 2]

Starts busy loops, then each variant in a process of its own, which trains on the bundled images; rounds take
turns. cpu: CPU time of the process over wall time. main: of the thread that trains alone; what is missing to
1 it waited for a core, or, where threads sleep while they wait, for the other threads.
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
    "1 thread": (1, {}),
    "2 threads": (2, {}),
    "2, passive": (2, {"OMP_WAIT_POLICY": "passive"}),
    "2, spin 1000": (2, {"GOMP_SPINCOUNT": "1000"}),
    "2, spin 10000": (2, {"GOMP_SPINCOUNT": "10000"}),
    "2, bound": (2, {"OMP_PROC_BIND": "true", "OMP_PLACES": "cores"}),
}


def measure(threads: int, model: str, batch: int, seconds: float) -> dict[str, float]:
    """Return the figures of training in this process for some seconds."""
    from imclass.config.compose import compose_config
    from imclass.training.build import build_data, build_setup, find_device

    words = [f"model={model}", f"train.batch_size={batch}", f"device.threads={threads}", "device=cpu"]
    config = compose_config(words, [])
    data = build_data(config)
    setup = build_setup(config, data, find_device(config, data))
    start, cpu, main, before, step = 0.0, 0.0, 0.0, resource.getrusage(resource.RUSAGE_SELF), 0
    while not step or step <= 3 or time.monotonic() - start < seconds:
        if step == 3:
            start, cpu, main = time.monotonic(), time.process_time(), time.thread_time()
            before = resource.getrusage(resource.RUSAGE_SELF)
        setup.learner.backward(*setup.loader.batch(step), step)
        setup.learner.step(setup.plan.max_norm)
        step += 1
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF)
    return {
        "images_per_second": batch * (step - 3) / wall,
        "cpu": (time.process_time() - cpu) / wall,
        "main": (time.thread_time() - main) / wall,
        "preemptions_per_step": (after.ru_nivcsw - before.ru_nivcsw) / (step - 3),
        "sleeps_per_step": (after.ru_nvcsw - before.ru_nvcsw) / (step - 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--output", type=Path, default=Path("crowded.json"))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.model, options.batch, options.seconds)))
        return
    rows: dict[str, list[dict[str, float]]] = {}
    for busy in options.busy:
        loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
        try:
            for _ in range(options.rounds):
                for name in options.only:
                    threads, environment = VARIANTS[name]
                    command = [sys.executable, *sys.argv, "--one", str(threads)]
                    done = subprocess.run(
                        command, env=os.environ | environment, stdout=subprocess.PIPE, check=True
                    )
                    rows.setdefault(f"{busy} busy, {name}", []).append(json.loads(done.stdout))
        finally:
            for loop in loops:
                loop.kill()
                loop.wait()
    options.output.write_text(
        json.dumps({"options": vars(options) | {"output": str(options.output)}, "rows": rows})
    )
    print(f"{options.model}, batch {options.batch}")
    for name, runs in rows.items():
        rates = sorted(run["images_per_second"] for run in runs)
        median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        print(
            f"{name:24} {statistics.median(rates):8.1f} ({rates[0]:.1f}..{rates[-1]:.1f}) images/s  cpu "
            f"{median['cpu']:.2f}  main {median['main']:.2f}  "
            f"preemptions {median['preemptions_per_step']:.1f}  "
            f"sleeps {median['sleeps_per_step']:.1f}"
        )


if __name__ == "__main__":
    main()
