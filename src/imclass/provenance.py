"""What a run was made with: command, code, versions, hardware, data."""

import datetime
import hashlib
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from imclass.device import Device

PACKAGES = ("imclass", "torch", "torchvision", "numpy", "hydra-core", "omegaconf")


def provenance(device: Device, data_fingerprint: str) -> dict[str, Any]:
    """Return what is needed to repeat a run, or to see why a repetition differs."""
    return {
        "command": ["imclass", *sys.argv[0].split()[1:], *sys.argv[1:]],
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "git": _git(Path(__file__).parent),
        "versions": {"python": platform.python_version()} | {p: _version(p) for p in PACKAGES},
        "system": platform.platform(),
        "hardware": device.hardware,
        "device": str(device.device),
        "precision": device.precision,
        "threads": device.threads,
        "data_fingerprint": data_fingerprint,
    }


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
