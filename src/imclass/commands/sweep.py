"""Search hyperparameters: many trainings, each in its own process, on all cores or GPUs of this machine.

imclass sweep sweep=NAME [sweep.trials=N ...] [overrides and search space]
"""

import dataclasses
from collections.abc import Sequence

from imclass.config.help import sweep_help
from imclass.errors import UserError
from imclass.machine.signals import catch_signals
from imclass.sweeps import require_optuna
from imclass.sweeps.request import Request, read_request


def sweep_command(argv: Sequence[str]) -> None:
    """Run or resume a sweep; write its table, sweep.html, sweep.csv and best.yaml.

    Raises ConfigError, and what `run_sweep` does.
    """
    if {"--help", "-h"} & set(argv):
        print(sweep_help())
        return
    argv, shown = _without_cfg(argv)
    request = read_request(argv)
    if shown:
        _show_settings(request)
        return
    require_optuna()
    from imclass.sweeps.run import find_workers, run_sweep

    workers = find_workers(request)
    with catch_signals():
        run_sweep(request, workers)


def _show_settings(request: Request) -> None:
    """Print the sweep's settings and the configuration of one of its trials as YAML."""
    from omegaconf import OmegaConf

    sweep = dataclasses.asdict(request.config)
    fixed = request.fixed
    sweep |= {"name": request.name, "trials": request.trials, "space": fixed["space"]}
    sweep["overrides"] = list(request.overrides)
    print(OmegaConf.to_yaml({"sweep": sweep, **dataclasses.asdict(request.base)}), end="")


def _without_cfg(argv: Sequence[str]) -> tuple[list[str], bool]:
    """Remove Hydra's `--cfg job` from the arguments; return the others, and whether it was there."""
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
        raise UserError(f"--cfg {wrong[0]}: expected --cfg job")
    return rest, bool(shown)
