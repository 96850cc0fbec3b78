"""The jobs of `-m`: where each has its run folder, and where Hydra keeps its own record of them."""

import contextlib
import dataclasses
import hashlib
import importlib.util
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from imclass.config.overrides import is_sweep, key_of
from imclass.config.schema import Config
from imclass.errors import UserError


def is_multirun() -> bool:
    """Tell whether the running job is one of `-m`."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def of_this_job(config: Config) -> Config:
    """Give each job of a named multirun a folder named after what makes it differ: NAME/lr-0.1_seed-0.

    So the same command finds each job's run again.
    """
    if config.name is None or not is_multirun():
        return config
    swept = {key_of(text) for text in sys.argv[1:] if not text.startswith("-") and is_sweep(text)}
    mine = [text for text in task_overrides() if key_of(text) in swept]
    if not mine:
        return config
    parts = [f"{key_of(text).rsplit('.', 1)[-1]}-{text.partition('=')[2]}" for text in mine]
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", "_".join(parts))
    if len(name) > 80 or name != "_".join(parts):  # two values may look alike now
        name = f"{name[:80]}-{hashlib.sha256(repr(mine).encode()).hexdigest()[:8]}"
    return dataclasses.replace(config, name=name, output_dir=str(Path(config.output_dir) / config.name))


def task_overrides() -> list[str]:
    """Return the overrides of the running job, a single value for each sweep."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task)


@contextlib.contextmanager
def scratch_of(flags: Sequence[str], typed: Sequence[str]) -> Iterator[Path]:
    """Make a folder for copies of experiment files and a multirun's own record: ours is in each run folder.

    It is temporary, unless the jobs are submitted: they may run on other machines, and later.
    Raises UserError when what submits them is not installed.
    """
    launchers = [text.partition("=")[2] for text in typed if key_of(text) == "hydra/launcher"]
    if "slurm" in launchers and importlib.util.find_spec("submitit") is None:
        raise UserError("hydra/launcher=slurm needs hydra-submitit-launcher: pip install 'imclass[slurm]'")
    if {"-m", "--multirun"} & set(flags) and launchers not in ([], ["basic"]):
        submitted = Path("outputs", ".submitit").absolute()
        submitted.mkdir(parents=True, exist_ok=True)
        yield Path(tempfile.mkdtemp(prefix="multirun-", dir=submitted))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
