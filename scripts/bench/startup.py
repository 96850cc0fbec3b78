"""Seconds that people wait: for --help, for a mistake, until the first step, and after the last one.

    python scripts/bench/startup.py [--rounds 5] [--output startup.json]

Each round starts each command once. `first step` trains one step of the default run; `after training` is from
the line of its last evaluation to its end: the test set, plots, page. Its data are bundled.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORTS = "python -c 'import torch, torchvision'"
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    IMPORTS: ["-c", "import torch, torchvision"],
    "imclass --help": ["-m", "imclass", "--help"],
    "imclass train --help": ["-m", "imclass", "train", "--help"],
    "imclass train optimzer.lr=1": ["-m", "imclass", "train", "optimzer.lr=1"],
}
TRAINING = ["-m", "imclass", "train", "name=run", "train.steps=1", "dataset=fashion_mnist_mini"]
GOALS = {"first step, above the imports": 2.0, "after training": 5.0}


def seconds_of(arguments: list[str], folder: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True)
    return time.perf_counter() - start


def training(folder: str) -> tuple[float, float]:
    """Return seconds to the end of the first step, and from the last evaluation to the end."""
    start, first, last = time.perf_counter(), 0.0, 0.0
    command = [sys.executable, *TRAINING, f"output_dir={folder}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout
        for line in process.stdout:
            now = time.perf_counter()
            first = first or (now if ", step 1 of 1" in line else 0.0)
            last = now if "val loss" in line else last
    assert process.returncode == 0 and first and last
    return first - start, time.perf_counter() - last


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("startup.json"))
    options = parser.parse_args()
    found: dict[str, list[float]] = {name: [] for name in (*COMMANDS, "first step", *GOALS)}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name, arguments in COMMANDS.items():
                found[name].append(seconds_of(arguments, folder))
            first, after = training(folder)
        found["first step"].append(first)
        found["first step, above the imports"].append(first - found[IMPORTS][-1])
        found["after training"].append(after)
    for name, values in found.items():
        goal = f", goal {GOALS[name]:.0f}" if name in GOALS else ""
        print(f"{name:38} {statistics.median(values):5.2f} ({min(values):.2f} to {max(values):.2f}){goal}")
    options.output.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
