"""Search hyperparameters: many trainings, each a process of its own, on all cores or GPUs of this machine.

imclass sweep sweep=NAME [sweep.trials=N ...] [overrides and search space]
"""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from imclass.config.help import sweep_help
from imclass.errors import Interrupted, PartialFailure, UserError
from imclass.machine.signals import STOP, catch_signals
from imclass.runs.locks import lock_folder
from imclass.sweeps import require_optuna
from imclass.sweeps.request import Request, read_request
from imclass.sweeps.stored import is_begun, keep_request

if TYPE_CHECKING:
    from imclass.sweeps.workers import Worker


def sweep_command(argv: Sequence[str]) -> None:
    """Run a sweep, or go on with it; its table, sweep.html, sweep.csv and best.yaml come out.

    Raises ConfigError, UserError, Interrupted; PartialFailure when a trial failed for good.
    """
    if {"--help", "-h"} & set(argv):
        print(sweep_help())
        return
    argv, shown = _without_cfg(argv)
    request = read_request(argv)
    if shown:
        _show_settings(request)
        return
    require_place()
    require_optuna()
    workers = find_workers(request)
    with catch_signals(), _opened(request):
        _run(request, workers)


def require_place() -> None:
    if sys.platform == "win32":
        raise UserError("sweeps need Linux or macOS")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("imclass sweep takes one process, not torchrun; it uses all GPUs by itself")


def _show_settings(request: Request) -> None:
    """Print the sweep's settings and the configuration of one of its trials as YAML."""
    from omegaconf import OmegaConf

    sweep = dataclasses.asdict(request.config)
    fixed = request.fixed
    sweep |= {"name": request.name, "trials": request.trials, "space": fixed["space"]}
    sweep["overrides"] = list(request.overrides)
    print(OmegaConf.to_yaml({"sweep": sweep, **dataclasses.asdict(request.base)}), end="")


@contextlib.contextmanager
def _opened(request: Request) -> Iterator[None]:
    """Create or find the sweep's folder; within the block no other process runs it, unless it joins."""
    folder = request.folder
    is_begun(request)
    folder.mkdir(parents=True, exist_ok=True)
    alone = lock_folder(folder, instead="work beside it with sweep.join=true")
    with contextlib.nullcontext() if request.config.join else alone:
        keep_request(request)
        yield


def find_workers(request: Request) -> "list[Worker]":
    from imclass.sweeps.workers import divide, find_gpus

    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return divide(request.config.workers, request.config.per_gpu, find_gpus(request.base.device.type), cores)


def _run(request: Request, workers: "Sequence[Worker]") -> None:
    from imclass.sweeps.best import told
    from imclass.sweeps.ledger import Ledger
    from imclass.sweeps.progress import ProgressLine
    from imclass.sweeps.queue import run_queue

    config = request.config
    gpus = {worker.gpu for worker in workers} - {None}
    line = ProgressLine(config.metric, len(workers))
    line.say(_header(request, len(workers), len(gpus)))
    ledger = Ledger(request)
    line.begin(ledger)
    finished = run_queue(request, ledger, workers, STOP, line)
    line.end(ledger)
    from imclass.sweeps.page import write_report

    page = request.folder / "sweep.html"
    results = write_report(request.folder, page)
    print(told(results, page))
    if not finished:
        raise Interrupted(f"stopped by {STOP.asked()}; it goes on with: {request.command}")
    if results.failures:
        count = len(results.failures)
        failed = f"{count} trials" if count > 1 else "a trial"
        again = "the same command" if config.retries else "sweep.retries=1"
        again += " without sweep.join=true" if config.join else ""
        raise PartialFailure(f"{failed} failed, see above; {again} tries again")


_DEVICES = {"auto": "the CPU", "cpu": "the CPU"}


def _header(request: Request, workers: int, gpus: int) -> str:
    """Return the line that opens a sweep, and what the user should know of it."""
    config = request.config
    where = (
        f"{gpus} GPU{'s' if gpus > 1 else ''}" if gpus else _DEVICES.get(request.base.device.type, "one GPU")
    )
    trials = f"{request.trials} configuration{'s' if request.trials > 1 else ''}"
    side = f"{workers} side by side" if workers > 1 else "one at a time"
    lines = [
        f"sweep {request.name}: {trials} over {', '.join(request.space)} "
        f"({config.sampler}, {config.pruner}), {side} on {where}, into {request.folder}"
    ]
    if config.pruner != "none" and request.evaluations == 1:
        lines.append("nothing will be pruned: a trial has one evaluation; train.eval_every= makes more")
    if config.sampler == "cmaes":
        drawn = [key for key, p in request.space.items() if not p.is_interval and not p.step]
        lines += [f"cmaes draws {', '.join(drawn)} at random: it knows numbers only"] if drawn else []
    return "\n".join(lines)


def _without_cfg(argv: Sequence[str]) -> tuple[list[str], bool]:
    """Take Hydra's `--cfg job` out of the arguments; return whether it was there."""
    rest: list[str] = []
    shown: list[str] = []
    words = iter(argv)
    for word in words:
        flag, _, value = word.partition("=")
        if flag in ("--cfg", "-c"):
            shown.append(value or next(words, "nothing"))
        else:
            rest.append(word)
    if wrong := [value for value in shown if value != "job"]:
        raise UserError(f"--cfg {wrong[0]}: of a sweep there is --cfg job")
    return rest, bool(shown)
