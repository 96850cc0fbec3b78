"""What a checkpoint says of how its run computes, and whether its continuation computes alike."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from imclass.config.schema import Config
from imclass.data.dataset import Data
from imclass.errors import UserError
from imclass.machine.device import Device
from imclass.runs.checkpoint import Checkpointer, State
from imclass.runs.folder import RunDir


def newest_state(run: RunDir) -> tuple[State, dict[str, Any], list[str]]:
    """Return state, header and warnings of the run's newest checkpoint; empty for a run without one."""
    try:
        return Checkpointer(run.checkpoints).latest()
    except FileNotFoundError:
        return {}, {}, []


def header_of(config: Config, data: Data, device: Device) -> dict[str, Any]:
    """Return how the numbers of a checkpoint are computed: with the same, they repeat bit for bit."""
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


def about_run(run: RunDir, data: Data) -> dict[str, Any]:
    """Return what a checkpoint needs to be used without the run; plain JSON types."""
    return {
        "run": run.path.name,
        "config": OmegaConf.to_yaml(dataclasses.asdict(run.config)),
        "classes": list(data.classes),
        "shape": list(data.shape),
        "mean": data.mean,
        "std": data.std,
    }


def compare_headers(header: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> list[str]:
    """Return a warning when a resumed run computes in another way than before; other data are refused."""
    before = {"processes": 1, "sync_batch_norm": False, **header}  # which older checkpoints do not name
    changed = [key for key in now if header and before[key] != now[key]]
    if "data_fingerprint" in changed:
        raise UserError(
            f"{path}: the training images are not those that this run began with; choose another name="
        )
    changes = ", ".join(f"{key} {before[key]} -> {now[key]}" for key in changed)
    return [f"resuming with {changes}: bit-identity not guaranteed"] if changes else []
