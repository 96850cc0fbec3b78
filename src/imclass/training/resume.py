"""Resuming: the newest checkpoint, what it records of how its run computes, and back to where it was.

Which settings a resumed run may change: `runs/changes.py`. The files: `runs/checkpoint.py`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from omegaconf import OmegaConf

from imclass.config.schema import Config, values_of
from imclass.config.setting import show
from imclass.config.stored import trained_settings
from imclass.data.dataset import Data
from imclass.data.datasets import load_dataset
from imclass.errors import UserError
from imclass.machine.device import Device
from imclass.runs.checkpoint import Header, State
from imclass.runs.checkpointer import newest_checkpoint
from imclass.runs.folder import RunFolder
from imclass.runs.logger import missing_logs
from imclass.runs.record_schema import problem_of_about
from imclass.runs.records import read_provenance
from imclass.runs.weights import require_fit
from imclass.training.saved_state import problem_of_state
from imclass.training.step import Learner


def is_done(run: RunFolder) -> bool:
    """Return whether nothing is left to do: the run is finished, and its folder whole.

    Raises UserError where dataset.root has other images now than those that it was trained on. Named data
    sets are checked as they are read.
    """
    if not (run.finished and run.complete):
        return False
    if run.moved and run.config.dataset.name == "image_folder":
        trained = read_provenance(run.path).get("data_fingerprint")
        if trained:
            _require_same_data(trained, load_dataset(run.config.dataset).fingerprint, run)
    return True


def saved_state(run: RunFolder) -> tuple[State, dict[str, Any], list[str]]:
    """Return what `newest_checkpoint` does; a new run has none, whatever is where its folder will be."""
    if not run.exists:
        return {}, {}, []

    state, header, warnings = newest_checkpoint(
        run.checkpoints, lambda state: missing_logs(run.path, state.get("logger"))
    )
    if header:
        read_provenance(run.path)  # a damaged one is refused before anything is touched
    else:
        warnings.append(f"{run.path}: was stopped before its first checkpoint; it begins again")
    if run.damage:
        warnings.append(f"{run.damage}: made again from the checkpoint")
    return state, header, warnings


def require_resumable(state: State, header: Header, learner: Learner, run: RunFolder) -> None:
    """Raise UserError, naming what differs, where `state` is not what the run's training would have saved."""
    problem = problem_of_about(state)
    if problem is None:
        _require_settings_of(state["about"]["config"], run)
        require_fit(learner.model, state["model"], source=str(run.checkpoints))
        problem = problem_of_state(state, header, learner, run.config.optimizer)
    if problem:
        raise UserError(
            f"{run.checkpoints}: the newest is not of this training: {problem}; choose another name="
        )


def _require_settings_of(trained: str, run: RunFolder) -> None:
    """Raise UserError where config.yaml was edited since the training. trained: YAML, from its checkpoint."""
    now, file = values_of(run.config), run.path / "config.yaml"
    pairs = trained_settings(trained, run.checkpoints).items()
    edited = [f"{key}: {show(now[key])}, not {show(value)}" for key, value in pairs if now[key] != value]
    if edited:
        raise UserError(
            f"{file}: edited since the training ({'; '.join(edited)}); undo that, or choose another name="
        )


def header_of(config: Config, data: Data, device: Device) -> dict[str, Any]:
    """Return what decides how a run computes: with the same values, its numbers repeat bit for bit."""
    return {
        "data_fingerprint": data.fingerprint,
        "processes": device.processes.size,
        "sync_batch_norm": config.device.sync_batch_norm,
        "threads": device.threads,
        "hardware": device.hardware,
        "precision": device.precision,
        "memory_format": str(device.memory_format),
        "compile": device.compile,
        "micro_batch": device.micro_batch,
        "torch": torch.__version__,
    }


def about_run(run: RunFolder, data: Data) -> dict[str, Any]:
    """Return what a checkpoint needs to be used without the run; plain JSON types."""
    return {
        "run": run.path.name,
        "config": OmegaConf.to_yaml(run.settings),
        "classes": list(data.classes),
        "shape": list(data.shape),
        "mean": data.mean,
        "std": data.std,
    }


def compare_headers(header: Mapping[str, Any], now: Mapping[str, Any], run: RunFolder) -> list[str]:
    """Return a warning where a resumed run computes differently. Raises UserError where its data differ."""
    changed = [key for key in now if key in header and header[key] != now[key]]
    if "data_fingerprint" in changed:
        _require_same_data(header["data_fingerprint"], now["data_fingerprint"], run)
    changes = ", ".join(f"{key} {show(header[key])} -> {show(now[key])}" for key in changed)
    return [f"resuming with {changes}: bit-identity not guaranteed"] if changes else []


def _require_same_data(trained: str, now: str, run: RunFolder) -> None:
    """Raise UserError where the fingerprint of the images is not that of those the run was trained on."""
    if now != trained:
        moved = f" ({run.moved})" if run.moved else ""
        raise UserError(
            f"{run.path}: the training images are not those that this run began with{moved}; choose another "
            f"name= (model.weights={run.path} starts from its weights)"
        )
