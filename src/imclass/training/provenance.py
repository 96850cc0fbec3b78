"""Where a run comes from: command, code, versions, hardware, data."""

import datetime
import hashlib
import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from imclass.config.invocation import Invocation
from imclass.data.dataset import Data
from imclass.machine.device import Device
from imclass.runs.atomic import write_atomically
from imclass.runs.records import read_provenance

PACKAGES = ("imclass", "torch", "torchvision", "timm", "pillow", "numpy", "hydra-core", "omegaconf")


def provenance(device: Device, data: Data, weights: Path | None, invocation: Invocation) -> dict[str, Any]:
    """Return what is needed to repeat a run, or to see why a repetition differs.

    weights: the file that a new run's weights come from; a resumed run recorded it in its first session.
    """
    sizes = {"train": len(data.train), "val": len(data.val), "test": len(data.test)}
    return {
        "command": _command(invocation, device.processes.size),
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "git": _git(Path(__file__).parent),
        "versions": {"python": platform.python_version()} | {p: _version(p) for p in PACKAGES},
        "system": platform.platform(),
        "hardware": device.hardware,
        "device": str(device.device),
        "precision": device.precision,
        "threads": device.threads,
        "processes": device.processes.size,
        "data": {**sizes, "validation": data.val_source, "skipped": data.skipped},
        "data_fingerprint": data.fingerprint,
        **({"starting_weights": _file(weights)} if weights is not None else {}),
    }


def record_provenance(folder: Path, now: dict[str, Any], *, resumed: bool) -> None:
    """Write provenance.json. A resumed run keeps what it began with, and adds what is different `now`."""
    file = folder / "provenance.json"
    first = read_provenance(folder) if resumed else {}
    if first:
        different = {key: value for key, value in now.items() if value != first.get(key)}
        now = first | {"resumed": [*first.get("resumed", []), different]}
    write_atomically(file, json.dumps(now, indent=2) + "\n")


def _command(invocation: Invocation, processes: int) -> list[str]:
    if processes == 1:
        return ["imclass", invocation.command, *invocation.words]
    here = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    size = [f"--nnodes={processes // here}", f"--nproc-per-node={here}"]
    return ["torchrun", *size, "-m", "imclass.train", *invocation.words]


def _file(path: Path) -> dict[str, str]:
    path = path.absolute()
    return {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ModuleNotFoundError:  # run from a checkout that is not installed
        return None


def _git(folder: Path) -> dict[str, str | None]:
    """Return commit and hash of the uncommitted changes of the checkout that the code runs from."""
    ours = _run_git(folder, "ls-files", "--error-unmatch", __file__)  # not a repository around a venv
    commit = _run_git(folder, "rev-parse", "HEAD") if ours else None
    difference = _run_git(folder, "diff", "HEAD") if commit else None
    digest = hashlib.sha256(difference).hexdigest() if difference else None
    return {"commit": commit.decode().strip() if commit else None, "diff_sha256": digest}


def _run_git(folder: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
