"""Search hyperparameters: many trainings, each in its own process, on all cores or GPUs of this machine.

imclass sweep sweep=NAME [sweep.trials=N ...] [overrides and search space]
"""

import dataclasses
from collections.abc import Sequence

from imclass.config.help import sweep_help
from imclass.config.invocation import Invocation
from imclass.config.urls import without_password
from imclass.errors import UserError
from imclass.machine.signals import STOP, catch_signals
from imclass.sweeps import require_optuna
from imclass.sweeps.request import Request, read_request


def sweep_command(argv: Sequence[str]) -> None:
    """Run or resume a sweep; write its table, sweep.html, sweep.csv and best.yaml.

    Raises ConfigError, and what `run_sweep` does.
    """
    invocation = Invocation.read("sweep", argv)
    if invocation.option("--help") is not None:
        print(sweep_help())
        return
    shown = invocation.option("--cfg")
    if shown not in (None, "job"):
        raise UserError(f"--cfg {shown}: expected --cfg job")
    options = tuple(option for option in invocation.options if option[0] != "--cfg")
    request = read_request(dataclasses.replace(invocation, options=options))
    if shown:
        _show_settings(request)
        return
    require_optuna()
    from imclass.sweeps.run import find_workers, run_sweep

    workers = find_workers(request)
    with catch_signals():
        STOP.nothing_to_save = False  # trials are asked to save
        run_sweep(request, workers)


def _show_settings(request: Request) -> None:
    """Print the sweep's settings and the configuration of one of its trials as YAML."""
    from omegaconf import OmegaConf

    sweep = dataclasses.asdict(request.config) | {"storage": without_password(request.storage)}
    fixed = request.fixed
    sweep |= {"name": request.name, "trials": request.trials, "space": fixed["space"]}
    sweep["overrides"] = list(request.overrides)
    print(OmegaConf.to_yaml({"sweep": sweep, **dataclasses.asdict(request.base)}), end="")
