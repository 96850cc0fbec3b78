"""best.yaml: the best configuration of a sweep as an experiment."""

import shlex
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from imclass.config.check import flatten
from imclass.config.compose import compose_config
from imclass.config.groups import group_choices
from imclass.config.overrides import quoted
from imclass.config.schema import values_of
from imclass.config.stored import read_settings
from imclass.errors import UserError
from imclass.runs.atomic import write_atomically
from imclass.sweeps.results import Results, Row

GROUPS = {"dataset": "dataset.name", "model": "model.name", "optimizer": "optimizer.name"}
GROUPS |= {"scheduler": "scheduler.name"}
# What belongs to the machine or to the run, not to the configuration.
LEFT_OUT = ("name", "output_dir", "resume", "debug", "logger.", "device.threads", "device.micro_batch")


def write_best(results: Results, row: Row, file: Path) -> None:
    """Write the settings of a trial, as its run folder has them, as a file for `experiment=`.

    The file is complete whatever experiment or files of the user's own the trial was made from: it names the
    choices of groups, and what differs from these. Raises UserError if the settings cannot be read.
    """
    run = results.folder / row.folder
    if row.settings_of_run is None and not (run / "config.yaml").exists():
        raise UserError(f"{run} has no config.yaml")
    wanted = flatten(row.settings_of_run or read_settings(run))
    choices = {g: wanted[key] for g, key in GROUPS.items() if wanted.get(key) in group_choices(g)}
    typed = [f"{group}={choice}" for group, choice in choices.items()]
    basis = values_of(compose_config(typed, [], to_train=False))
    left_out = (*LEFT_OUT, *(["train.steps"] if wanted.get("train.budget") else []))  # measured anew
    differing = {k: v for k, v in wanted.items() if not k.startswith(left_out) and basis.get(k) != v}
    content: dict[str, Any] = {"defaults": [{f"override /{g}": c} for g, c in choices.items()]}
    values = OmegaConf.create()
    for key, value in differing.items():
        OmegaConf.update(values, key, value, force_add=True)
    body = OmegaConf.to_yaml(OmegaConf.create(content)) + OmegaConf.to_yaml(values)
    write_atomically(file, f"# @package _global_\n{_comment(results, row, file)}{body}")


def train_command(file: Path) -> str:
    """Return the command that trains an experiment from a file."""
    return shlex.join(["imclass", "train", f"experiment={quoted(file)}"])


def _comment(results: Results, row: Row, file: Path) -> str:
    figure = f"{results.stored['metric']} {results.show(row.value)}"
    trained = results.count("complete")
    lines = [
        train_command(file),
        f"The best of {len(results.rows)} configurations ({trained} completed) of the sweep "
        f"{results.stored['name']}: {figure} in trial {row.number}.",
    ]
    if row.repeats:
        lines.append(f"On {len(row.repeats)} fresh seeds: {results.show_repeats(row)}.")
    return "".join(f"# {line}\n" for line in lines)
