"""Run a task on the configuration that a command line composes; with `-m`, once per job. No torch here."""

import contextlib
import dataclasses
import hashlib
import importlib.util
import io
import os
import re
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from imclass.config.compose import check_overrides, checked, compose_config, composing
from imclass.config.help import train_help
from imclass.config.invocation import Invocation
from imclass.config.overrides import is_sweep, key_of, quoted
from imclass.config.schema import Config
from imclass.endings import say
from imclass.errors import ConfigError, ImclassError, Interrupted, PartialFailure, UserError, first_line

Task = Callable[[Config, Invocation], object]
Conclude = Callable[[list[Any]], None]


def run_app(
    task: Task, invocation: Invocation, *, submit: bool = True, conclude: Conclude = lambda *_: None
) -> list[Any]:
    """Run `task` on the configuration that `invocation` composes; with `-m` once per job.

    Returns what `task` does, of each job that ran here. submit: whether a launcher may send the jobs
    elsewhere; otherwise they run here, one by one. conclude: called after the jobs of `-m` with what `task`
    returned for those that did not fail, before the error of the others is raised; not after an
    interruption. Raises ConfigError with all problems of the configuration.
    """
    if invocation.option("--help") is not None:
        print(train_help(invocation.command))
        return []
    check_overrides(invocation.overrides, invocation.config_dirs)
    if not invocation.multirun:
        _refuse_sweeps(invocation.overrides)
    if invocation.option("--cfg") is not None:
        _print_config(invocation)
        return []
    if invocation.multirun:
        return _run_jobs(_Jobs(task, invocation), submit=submit, conclude=conclude)
    return [task(compose_config(invocation.overrides, invocation.config_dirs), invocation)]


def _refuse_sweeps(overrides: Sequence[str]) -> None:
    """Raise ConfigError for what stands for several values where one run is to be trained."""
    several = [text for text in overrides if is_sweep(text)]
    if several:
        raise ConfigError(
            [f"{text}: several values; add -m for a run of each, or keep one" for text in several]
        )


def _print_config(invocation: Invocation) -> None:
    kind = invocation.option("--cfg")
    if kind not in ("job", "hydra", "all"):
        raise UserError(f"--cfg {kind}: expected job, hydra or all")
    package, said = invocation.option("--package"), io.StringIO()
    with composing(invocation.overrides, invocation.config_dirs) as (hydra, overrides):
        try:
            with contextlib.redirect_stderr(said):
                hydra.show_cfg(
                    config_name="train",
                    overrides=overrides,
                    cfg_type=kind,
                    package=package,
                    resolve=invocation.option("--resolve") is not None,
                )
        except SystemExit as end:
            raise UserError(f"--package {package}: no such part of the configuration") from end


class _Jobs:
    """The function that Hydra calls for each job of `-m`. A launcher pickles it and calls it elsewhere."""

    def __init__(self, task: Task, invocation: Invocation):
        self.task, self.invocation = task, invocation
        self.failures: list[ImclassError | Interrupted] = []
        self.results: list[Any] = []
        self.process = os.getpid()

    def __call__(self, composed: Any) -> None:
        """Run one job. A job that fails does not keep the others from running; an interrupted one does."""
        if any(isinstance(failure, Interrupted) for failure in self.failures):
            return
        here = os.getpid() == self.process
        try:
            overrides = _job_overrides()
            config = checked(composed, overrides)
            config = _with_folder_of_job(config, self.invocation, overrides)
            self.results.append(self.task(config, self.invocation))
        except (ImclassError, Interrupted) as error:
            if not here:  # the launcher hands it on to the process that waits for the job
                raise
            self.failures.append(error)
        except Exception as error:
            if not here:
                raise
            traceback.print_exc()
            self.failures.append(PartialFailure(f"a job failed: {type(error).__name__}: {error}"))


def _run_jobs(jobs: _Jobs, *, submit: bool, conclude: Conclude) -> list[Any]:
    """Let Hydra's sweeper run the jobs, then raise the last failure; the others are printed.

    Returns what the task did for each job.
    """
    typed = jobs.invocation.overrides
    if not submit:  # of Hydra's own settings, `check_overrides` lets only its launcher's pass
        typed = tuple(text for text in typed if not key_of(text).startswith("hydra"))
    with (
        record_folder(typed) as folder,
        _submission_errors_in_one_line(),
        composing(typed, jobs.invocation.config_dirs, folder) as (hydra, overrides),
    ):
        hydra.multirun("train", jobs, [*overrides, f"hydra.sweep.dir={quoted(folder)}"])
    try:
        if not any(isinstance(failure, Interrupted) for failure in jobs.failures):
            conclude(jobs.results)
    finally:
        for failure in jobs.failures[:-1]:
            say(str(failure))
        if jobs.failures:
            raise jobs.failures[-1]
    return jobs.results


def _job_overrides() -> list[str]:
    """Return the overrides of the running job of `-m`: one value for each sweep."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task)


def _with_folder_of_job(config: Config, invocation: Invocation, overrides: Sequence[str]) -> Config:
    """Give each job of a named multirun a folder named after what makes it differ: NAME/lr-0.1_seed-0.

    So the same command finds each job's run again.
    """
    swept = {key_of(text) for text in invocation.overrides if is_sweep(text)}
    mine = [text for text in overrides if key_of(text) in swept]
    if config.name is None or not mine:
        return config
    parts = [f"{key_of(text).rsplit('.', 1)[-1]}-{text.partition('=')[2]}" for text in mine]
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", "_".join(parts))
    if len(name) > 80 or name != "_".join(parts):  # two values may look alike now
        name = f"{name[:80]}-{hashlib.sha256(repr(mine).encode()).hexdigest()[:8]}"
    return dataclasses.replace(config, name=name, output_dir=str(Path(config.output_dir) / config.name))


@contextlib.contextmanager
def record_folder(overrides: Sequence[str]) -> Iterator[Path]:
    """Make the folder for Hydra's own record of the jobs, and for copies of experiment files.

    It is temporary, unless the jobs are submitted: these may run on other machines, and later.
    Raises UserError when what submits them is not installed.
    """
    launchers = [text.partition("=")[2] for text in overrides if key_of(text) == "hydra/launcher"]
    if "slurm" in launchers and importlib.util.find_spec("submitit") is None:
        raise UserError("hydra/launcher=slurm needs hydra-submitit-launcher: pip install 'imclass[slurm]'")
    if launchers in ([], ["basic"]):
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
    else:
        submitted = Path("outputs", ".submitit").absolute()
        submitted.mkdir(parents=True, exist_ok=True)
        yield Path(tempfile.mkdtemp(prefix="multirun-", dir=submitted))


@contextlib.contextmanager
def _submission_errors_in_one_line() -> Iterator[None]:
    """Within the block, what the batch system refuses becomes a UserError."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("submitit"):
            raise
        reason = first_line(error)
        raise UserError(f"the batch system refuses the jobs: {reason}; see hydra.launcher.*") from error
