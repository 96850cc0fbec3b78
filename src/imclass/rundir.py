"""The run folder: how it is named, whether a run there is new, to be continued or finished."""

import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from imclass.checks import check_config, flatten, show
from imclass.config import Config
from imclass.errors import UserError
from imclass.locks import LOCK, lock_folder

# What does not change a run's figures.
WITHOUT_EFFECT = (
    "logger.",
    "checkpoint.every",
    "model.summary",
    "debug",
    "resume",
    "output_dir",
    "dataset.root",  # the fingerprint of the data guards what is found there
    "dataset.download",
)
# What may differ between a run and its continuation; everything else would make a silent hybrid.
SAFE = (*WITHOUT_EFFECT, "device.", "train.max_time")
LENGTH = ("train.epochs", "train.steps")
_TEMPORARY = ".tmp-"


class RunDir:
    """`outputs/<name>`: paths, the stored configuration, and the summary.

    notes: what differs, safely, from how the run was started.
    """

    def __init__(self, path: Path, config: Config, *, exists: bool, notes: tuple[str, ...] = ()):
        self.path, self.config, self.exists, self.notes = path, config, exists, notes
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
        return json.loads(self.summary_file.read_text()) if self.summary_file.exists() else {}

    @property
    def finished(self) -> bool:
        """True when there is nothing left to do: the same command has already ended well."""
        return self.summary.get("status") == "finished" and not self.notes

    @property
    def lengthened(self) -> bool:
        """True when the continuation is to train longer than the run was meant to."""
        return any(note.startswith((*LENGTH, "train.max_time")) for note in self.notes)

    def create(self) -> "RunDir":
        """Make the folder and store the configuration in it; `mkdir` decides between two jobs."""
        if not self.exists:
            self.path = _make_unique(self.path, exact=self.config.name is not None)
            self.exists = True
            self._hold()
        self.config = dataclasses.replace(self.config, name=self.path.name, resume="auto")
        write_atomically(self.path / "config.yaml", OmegaConf.to_yaml(dataclasses.asdict(self.config)))
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
        """Lock the folder, and sweep what a process left there that was killed while it wrote."""
        self._held.enter_context(lock_folder(self.path))
        for debris in self.path.glob(f"{_TEMPORARY}*"):
            debris.unlink(missing_ok=True)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        write_atomically(self.summary_file, json.dumps(summary, indent=2) + "\n")

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process of the job, it becomes one that writes nothing."""
        return _run_of_another, (self.path, self.config, self.exists, self.notes)


class SilentRun(RunDir):
    """The run folder as the processes see it that leave writing to the first."""

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Leave it to the first process."""


def _run_of_another(path: Path, config: Config, exists: bool, notes: tuple[str, ...]) -> SilentRun:
    return SilentRun(path, config, exists=exists, notes=notes)


def open_run(config: Config) -> RunDir:
    """Find out what `config` asks for: a new run, or the continuation of one that exists.

    Nothing is created. Raises UserError when a run of that name has other settings.
    """
    if config.resume not in ("auto", "never"):
        return _continue(Path(config.resume), config)
    if config.name is None and "SLURM_JOB_ID" in os.environ:
        config = dataclasses.replace(config, name=_name_of_job(os.environ["SLURM_JOB_ID"], config))
    if config.name is None:
        stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        path = Path(config.output_dir) / f"{stamp}_{config.model.name}_{config.dataset.name}"
        return RunDir(path, config, exists=False)
    path = Path(config.output_dir) / config.name
    if not (path / "config.yaml").exists():
        debris = path.is_dir() and all(p.name.startswith((_TEMPORARY, LOCK)) for p in path.iterdir())
        if path.exists() and not debris:
            raise UserError(f"{path}: exists and is not a run folder of imclass; choose another name=")
        return RunDir(path, config, exists=False)
    if config.resume == "never":
        raise UserError(
            f"{path}: this run exists and resume=never; choose another name=, or leave resume out"
        )
    return _continue(path, config)


def _name_of_job(job: str, config: Config) -> str:
    """Return a name that a requeued job finds again: of its number and what it trains, not of the clock."""
    settings = json.dumps(dataclasses.asdict(config), sort_keys=True)
    digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
    return f"slurm{job}_{config.model.name}_{config.dataset.name}_{digest}"


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that a reader finds the old or the new text, never a part.

    Several processes, on several machines, may write the same file: the last one wins.
    """
    temporary = path.with_name(f"{_TEMPORARY}{path.name}-{secrets.token_hex(4)}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _continue(path: Path, config: Config) -> RunDir:
    """Compare with what the run was started with; differences that are safe are applied and noted."""
    stored = flatten(read_settings(path))
    wanted = flatten(dataclasses.asdict(config))
    differing = [k for k in wanted if k in stored and stored[k] != wanted[k] and k not in ("name", "resume")]
    changes = {k: f"{k}: {show(stored[k])} -> {show(wanted[k])}" for k in differing}
    refused = [
        line for k, line in changes.items() if not (k.startswith(SAFE) or _is_longer(k, stored, wanted))
    ]
    if refused:
        listed = "; ".join(refused[:8]) + (f"; and {len(refused) - 8} more" if len(refused) > 8 else "")
        raise UserError(
            f"{path}: has other settings ({listed}); choose another name=, or repeat its settings"
        )
    lengthened = {k: v for k, v in changes.items() if k in LENGTH or k == "train.max_time"}
    unfinished = RunDir(path, config, exists=True).summary.get("status") != "finished"
    return RunDir(path, config, exists=True, notes=tuple((changes if unfinished else lengthened).values()))


def _is_longer(key: str, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tell whether a setting makes the training longer; `train.epochs` does not where steps are set."""
    if key not in LENGTH or (key == "train.epochs" and stored["train.steps"] is not None):
        return False
    return None not in (stored[key], wanted[key]) and wanted[key] > stored[key]


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings in a run's config.yaml, nested, as plain data: nothing in them is resolved.

    Raises UserError when there is no such file, or it is no YAML.
    """
    if not (path / "config.yaml").exists():
        raise UserError(f"resume={path}: expected auto, never, or a run folder with a config.yaml")
    try:
        stored: Any = OmegaConf.to_container(OmegaConf.load(path / "config.yaml"), resolve=False)
    except Exception as error:  # the parser's own exceptions are of many kinds
        raise UserError(f"{path / 'config.yaml'}: cannot be read as YAML settings ({error})") from error
    return stored


def stored_with(path: Path, typed: Mapping[str, Any]) -> Config:
    """Return the run's own configuration with what the user typed on top: {key: value}, groups as `key=`."""
    groups = [key.rstrip("=") for key in typed if key.endswith("=")]
    if groups:
        raise UserError(f"{groups[0]}=...: resume={path} takes its settings from the run; leave this out")
    stored = OmegaConf.create(read_settings(path))
    for key, value in typed.items():
        if key != "name" and not key.startswith("hydra"):
            OmegaConf.update(stored, key, value)
    return check_config(OmegaConf.to_container(stored))  # type: ignore[arg-type]


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
