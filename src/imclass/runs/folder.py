"""The run folder: how it is named, whether a run there is new, to be continued or finished."""

import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from imclass.config.budget import with_steps_of_run
from imclass.config.check import flatten
from imclass.config.run_names import RUN_NAME, RUN_NAME_IN_WORDS
from imclass.config.schema import SETTINGS, Config, values_of
from imclass.config.setting import show
from imclass.config.stored import read_settings, require_settings, require_valid
from imclass.errors import UserError
from imclass.runs.atomic import TEMPORARY, sweep_debris, sync, write_atomically
from imclass.runs.changes import is_longer, may_change, refusal
from imclass.runs.contents import promised_files, require_own_folders
from imclass.runs.locks import LOCK, lock_folder
from imclass.runs.records import read_summary


class RunFolder:
    """`outputs/<name>`: paths, the configuration, and the summary.

    named: whether the folder must have this very name; otherwise a free one like it is taken.
    changes: what differs, safely, from how the run was started: a line for people, by the setting.
    """

    def __init__(
        self,
        path: Path,
        config: Config,
        *,
        exists: bool,
        named: bool,
        changes: Mapping[str, str] | None = None,
    ):
        self.path, self.config, self.exists, self.named = path, config, exists, named
        self.changes = dict(changes or {})
        self.moved = self.changes.get("dataset.root", "")  # which folder to which, or empty
        self._held = contextlib.ExitStack()

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    @property
    def summary_file(self) -> Path:
        return self.path / "summary.json"

    @property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json, empty before the first and where it is damaged.

        Raises UserError for a damaged one that cannot be made again.
        """
        return {} if self.damage else read_summary(self.path)

    @property
    def damage(self) -> str:
        """What is wrong with summary.json, where a checkpoint can make it again; empty if nothing is."""
        try:
            read_summary(self.path)
        except UserError as error:
            if not (self.has_checkpoint and stat.S_ISREG(self.summary_file.lstat().st_mode)):
                raise
            return str(error).partition("; ")[0]
        return ""

    @property
    def has_checkpoint(self) -> bool:
        return any((self.checkpoints / f"{name}.pt").exists() for name in ("last", "previous"))

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration as it is stored: with the folder's name, and resumable under it."""
        return dataclasses.asdict(self.config) | {"name": self.path.name, "resume": "auto"}

    @property
    def finished(self) -> bool:
        """True when the same command has already ended well."""
        return self.exists and self.summary.get("status") == "finished" and not self.changes

    @property
    def complete(self) -> bool:
        """True when a finished run has what it promises, or no checkpoint from which that can be made."""
        files = promised_files(plots=self.config.logger.plots)
        whole = all((self.path / file).exists() for file in files)
        return whole or not self.has_checkpoint

    @property
    def lengthened(self) -> bool:
        """True when a resumed run is to train longer than it was meant to."""
        return any(SETTINGS[key].lengthens for key in self.changes)

    def create(self) -> "RunFolder":
        """Make the folder and store the configuration in it; `mkdir` decides between two jobs."""
        if not self.exists:
            self.path = _make_unique(self.path, exact=self.named)
            self.exists = True
            self._hold()
            if (self.path / "config.yaml").exists():
                raise UserError(
                    f"{self.path}: another job began this run just now; wait for it, or choose another name="
                )
        elif self.lengthened and (summary := self.summary).get("status") == "finished":
            self.write_summary({**summary, "status": "running"})  # it is not, with the settings that follow
        write_atomically(self.path / "config.yaml", OmegaConf.to_yaml(self.settings))
        self.checkpoints.mkdir(exist_ok=True)
        for folder in (
            self.path,
            self.path.parent,
        ):  # else a power cut takes the names with all that is in them
            sync(folder)
        return self

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Within the block, no other process may train in this folder; a new folder is locked by `create`.

        Raises UserError naming the holder.
        """
        with self._held:
            if self.exists:
                self._hold()
            yield

    def _hold(self) -> None:
        """Lock the folder, and sweep what a process that was killed while writing left there."""
        require_own_folders(self.path)
        self._held.enter_context(lock_folder(self.path))
        for folder in (self.path, self.checkpoints, self.plots):
            sweep_debris(folder)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace summary.json, after all else in the folder is on the disk."""
        for folder in (self.path, self.plots):
            if folder.exists():
                sync(folder)
        write_atomically(self.summary_file, json.dumps(summary, indent=2) + "\n")
        sync(self.path)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle all but the lock, which belongs to the process that holds it."""
        return {**self.__dict__, "_held": None}


def open_run(config: Config) -> RunFolder:
    """Find out what `config` asks for: a new run, or to resume one that exists.

    Nothing is created. Raises UserError when a run of that name has other settings.
    """
    if config.resume not in ("auto", "never"):
        return _resume(Path(config.resume), config)
    name = config.name
    if name is None and os.environ.get("SLURM_JOB_ID"):
        name = _name_of_job(os.environ["SLURM_JOB_ID"], config)
    if name is None:
        stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        path = Path(config.output_dir) / f"{stamp}_{config.components}"
        return RunFolder(path, config, exists=False, named=False)
    path = Path(config.output_dir) / name
    if not (path / "config.yaml").exists():
        debris = path.is_dir() and all(p.name.startswith((TEMPORARY, LOCK)) for p in path.iterdir())
        if path.exists() and not debris:
            require_settings(path)
            raise UserError(f"{path}: exists and is not a run folder of imclass; choose another name=")
        return RunFolder(path, config, exists=False, named=True)
    if config.resume == "never":
        raise UserError(
            f"{path}: this run exists and resume=never; choose another name=, or leave resume out"
        )
    return _resume(path, config)


def _name_of_job(job: str, config: Config) -> str:
    """Return a name that a requeued job finds again: from its number and settings, not from the clock.

    Raises UserError for a number that could lead out of `output_dir`.
    """
    if re.fullmatch(RUN_NAME, job) is None:
        raise UserError(f"SLURM_JOB_ID={job!r}: expected {RUN_NAME_IN_WORDS}; unset it, or type name=")
    settings = json.dumps(dataclasses.asdict(config), sort_keys=True)
    digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
    return f"slurm{job}_{config.components}_{digest}"


def _resume(path: Path, config: Config) -> RunFolder:
    """Compare with what the run was started with; differences that are safe are applied and noted."""
    settings = read_settings(path)
    require_valid(settings, path)
    stored = values_of(Config()) | flatten(settings)  # of a setting newer than the run, the default
    config = with_steps_of_run(config, stored)
    wanted = values_of(config)
    differing = [k for k in wanted if stored[k] != wanted[k] and k not in ("name", "resume")]
    changes = {k: f"{k}: {show(stored[k])} -> {show(wanted[k])}" for k in differing}
    refused = {key: line for key, line in changes.items() if not may_change(key, stored, wanted)}
    if refused:
        root = {key: line for key, line in changes.items() if key == "dataset.root"}  # it may be the reason
        length = "train.steps" if stored["train.steps"] else "train.epochs"
        raise UserError(refusal(path, root | refused, length, moved=bool(root.keys() - refused.keys())))
    run = RunFolder(path, config, exists=True, named=True, changes=changes)
    if run.summary.get("status") == "finished":
        run.changes = {k: line for k, line in changes.items() if is_longer(k, stored, wanted)}
    return run


def _make_unique(path: Path, *, exact: bool) -> Path:
    """Create `path`, or unless `exact` the first of path-2, path-3 ... that nobody else created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, 10_000):
        candidate = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            candidate.mkdir(exist_ok=exact)
        except FileExistsError:
            continue
        return candidate
    raise UserError(f"{path}: 10,000 runs of this name exist; choose another name=")
