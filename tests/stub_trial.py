"""Stands in for `imclass.train` in the tests of sweeps: the same files and exit codes, without torch.

What a trial does besides is said by `plan.json` in the working directory: {name: [of each start]}.
"""

import dataclasses
import json
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

EVALUATIONS = 4


def command(trial_command: Any) -> Any:
    """Return a replacement of `imclass.sweeps.workers.trial_command`."""
    return lambda request, ticket: [sys.executable, __file__, *trial_command(request, ticket)[3:]]


def score(lr: float) -> float:
    """Return the accuracy that this rate leads to: the best is 0.1."""
    return 0.9 - abs(math.log10(lr) + 1) / 10


def main() -> None:
    typed = dict(text.split("=", 1) for text in sys.argv[1:] if not text.startswith("--"))
    name, folder = typed["name"], Path(typed["output_dir"].strip("'")) / typed["name"]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "starts").open("a") as file:
        file.write(f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')} {os.getppid()}\n")
    starts = len((folder / "starts").read_text().splitlines())
    plan = json.loads(Path("plan.json").read_text()) if Path("plan.json").exists() else {}
    acts = plan.get(name, plan.get("all", []))
    act = acts[min(starts, len(acts)) - 1] if acts else ""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    write_config(folder, typed)
    if (folder / "summary.json").exists():
        return
    print(f"start {starts} of {name}: {act}", flush=True)
    misbehave(act)
    while act == "hold" and not Path("go").exists():
        time.sleep(0.01)
    value = score(float(typed.get("optimizer.lr", 0.1))) + int(typed.get("seed", 0)) / 1000
    done = folder / "checkpoint"
    for number in range(int(done.read_text()) if done.exists() else 0, EVALUATIONS):
        time.sleep(plan.get("pace", 0.0))
        record = {"step": number, "epoch": number + 1.0, "split": "val", "images": 1}
        record |= {"loss": 1 - value, "accuracy": value}
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
        done.write_text(str(number + 1))
        while act == "wait" and not stopped:  # for whoever stops it
            time.sleep(0.01)
        if stopped:
            sys.exit(75)
    figures = {"loss": 1 - value, "accuracy": value}
    summary = {
        "status": "finished",
        "step": EVALUATIONS,
        "epoch": EVALUATIONS,
        "best": {"step": EVALUATIONS, "epoch": EVALUATIONS, **figures},
        "test": figures,
        "seconds": {"total": 1.0, "train": 1.0, "evaluate": 0.0},
        "images_per_second": 1.0,
        "parameters": 1,
    }
    (folder / "summary.json").write_text(json.dumps(summary))


def misbehave(act: str) -> None:
    if act == "raise":
        raise RuntimeError("the sky is falling")
    if act == "abort":
        os.abort()
    if act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if act.startswith("exit "):
        sys.exit(int(act.removeprefix("exit ")))


def write_config(folder: Path, typed: dict[str, str]) -> None:
    from imclass.config.schema import Config

    settings: Any = dataclasses.asdict(Config(output_dir=str(folder.parent), name=folder.name))
    for key, text in typed.items():
        *path, last = key.split(".")
        if isinstance(settings.get(key), dict):  # the choice of a group
            path, last = [key], "type" if key == "device" else "name"
        place = settings
        for part in path:
            place = place[part]
        try:
            place[last] = json.loads(text)
        except ValueError:
            place[last] = text.strip("'")
    (folder / "config.yaml").write_text(json.dumps(settings))


if __name__ == "__main__":
    main()
