"""Compose a configuration with Hydra, and report every mistake in it at once.

Hydra stops at the first mistake. So the overrides are looked at one by one first; if some are wrong,
the rest is composed without them, and the problems of both are reported together. No torch here.
"""

import contextlib
import dataclasses
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imclass.config.check import check_config, sections
from imclass.config.groups import config_dir, plugin_names
from imclass.config.multirun import is_multirun, of_this_job, scratch_of, task_overrides
from imclass.config.overrides import (
    is_sweep,
    key_of,
    override_problem,
    parse,
    quoted,
    samples,
    split_arguments,
    sweep_values,
    with_experiment_files,
)
from imclass.config.schema import Config
from imclass.config.stored import stored_with
from imclass.errors import (
    ConfigError,
    ImclassError,
    Interrupted,
    PartialFailure,
    UserError,
)


def run_hydra(task: Callable[[Config], None], command: str, argv: Sequence[str]) -> None:
    """Run `task` on the configuration that `argv` composes; with `-m` once per job.

    Raises ConfigError with all problems of the configuration.
    """
    flags, typed, config_dirs = split_arguments(argv)
    if not {"--help", "-h", "--hydra-help", "--shell-completion", "-sc"} & set(argv):
        check_overrides(typed, config_dirs)
    import hydra

    _register_schema()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hand us the exception: we print one line and choose the exit code
    failures: list[ImclassError | Interrupted] = []
    here = os.getpid()

    @hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="train")
    def main(composed: Any) -> None:
        sys.argv = [f"imclass {command}", *flags, *typed]  # as it was typed, for the run's records
        if any(isinstance(failure, Interrupted) for failure in failures):
            return  # -m: the jobs after an interrupted one wait for the same command
        try:
            task(of_this_job(_checked(composed)))
        except (ImclassError, Interrupted) as error:  # -m: the other jobs go on
            if os.getpid() != here:  # a launcher's job on another machine: its failure is sent back
                raise
            failures.append(error)
        except Exception as error:
            if os.getpid() != here or not is_multirun():
                raise
            traceback.print_exc()
            failures.append(PartialFailure(f"a job failed: {type(error).__name__}: {error}"))

    with scratch_of(flags, typed) as scratch:
        overrides, found = with_experiment_files(typed, scratch)
        search = [f"hydra.searchpath=[{quoted(f'file://{scratch}')}]"] if found else []
        # argparse takes no flags between overrides
        sys.argv = [f"imclass {command}", *flags, *overrides, *search, f"hydra.sweep.dir={quoted(scratch)}"]
        with _told_in_one_line():
            main()
    for failure in failures[:-1]:
        print(f"imclass: {failure}", file=sys.stderr)
    if failures:
        raise failures[-1]


@contextlib.contextmanager
def _told_in_one_line() -> Iterator[None]:
    """Within the block, what Hydra, OmegaConf or a launcher raises becomes a UserError."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_one_line(error)) from error
    except Exception as error:
        if not type(error).__module__.startswith("submitit"):
            raise
        told = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"the batch system refuses the jobs: {told}; see hydra.launcher.*") from error


def compose_config(overrides: Sequence[str], config_dirs: Sequence[Path], *, to_train: bool = True) -> Config:
    """Return the configuration that `overrides` compose. Raises ConfigError, UserError.

    to_train: as of `check_config`.
    """
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException

    _register_schema()
    with tempfile.TemporaryDirectory() as scratch:
        overrides, found = with_experiment_files(overrides, Path(scratch))
        folders = [*config_dirs, *([Path(scratch)] if found else [])]
        search = ",".join(quoted(f"file://{folder.absolute()}") for folder in folders)
        try:
            with _beside_a_job(), initialize_config_dir(version_base="1.3", config_dir=str(config_dir())):
                composed = compose("train", [*overrides, f"hydra.searchpath=[{search}]"])
                return _checked(composed, to_train=to_train)
        except HydraException as error:
            raise UserError(_one_line(error)) from error


@contextlib.contextmanager
def _beside_a_job() -> Iterator[None]:
    """Within the block, Hydra composes anew, also while a job that it has started is running."""
    from hydra.core.global_hydra import GlobalHydra

    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = running


def check_overrides(overrides: Sequence[str], config_dirs: Sequence[Path]) -> None:
    """Raise ConfigError with every faulty override, and with the problems of what the others compose.

    Sweeps are looked at value by value, and composed with the first values of the other sweeps.
    """
    good: list[str] = []
    sweeps: dict[str, list[str]] = {}
    problems: list[str] = []
    seen: set[str] = set()
    for text in overrides:
        key = key_of(text)
        problem = f"{key}: given twice; keep one" if key in seen else override_problem(text, config_dirs)
        seen.add(key)
        if problem is not None:
            problems.append(problem)
        elif is_sweep(text):
            sweeps[key] = sweep_values(parse(text), config_dirs)
        else:
            good.append(text)
    if problems or sweeps:
        problems += compose_samples(good, sweeps, config_dirs)[1]
    if problems:
        raise ConfigError(problems)


def compose_samples(
    overrides: Sequence[str], sweeps: Mapping[str, Sequence[str]], config_dirs: Sequence[Path]
) -> tuple[list[Config], list[str]]:
    """Compose `overrides` with the values of `sweeps`, as `samples` picks them.

    Return the configurations that are sound, and the problems of the others.
    """
    if any(key_of(override).startswith(("hydra", "resume")) for override in overrides):
        return [], []
    configs: list[Config] = []
    told: dict[str, str] = {}  # each problem, and with which values of the sweeps it arises
    for sample in samples({k: v for k, v in sweeps.items() if not k.startswith("hydra")}):
        chosen = [f"{key}={value}" for key, value in sample.items()]
        try:
            configs.append(compose_config([*overrides, *chosen], config_dirs))
        except UserError as error:
            for problem in _problems(error):
                named = not chosen or any(c in problem for c in chosen)
                told.setdefault(problem, problem if named else f"{problem} (with {', '.join(chosen)})")
    if told and sweeps:  # some of it is wrong whatever the sweeps say
        try:
            compose_config(overrides, config_dirs)
        except UserError as error:
            told |= {problem: problem for problem in _problems(error) if problem in told}
    return configs, list(told.values())


def _problems(error: UserError) -> Sequence[str]:
    return error.problems if isinstance(error, ConfigError) else [str(error)]


def _typed_overrides() -> dict[str, Any]:
    """Return {key: value} of the plain overrides of the running job; groups under `group=`."""
    parsed = [parse(text) for text in task_overrides()]
    return {o.key_or_group + ("=" if o.key_or_group in sections() else ""): o.value() for o in parsed}


def _checked(composed: Any, *, to_train: bool = True) -> Config:
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(composed, resolve=True)
    if isinstance(plain.get("resume"), str) and plain["resume"] not in ("auto", "never"):
        return stored_with(Path(plain["resume"]), _typed_overrides())
    return check_config(plain, to_train=to_train)


def _register_schema() -> None:
    """Give Hydra every key with its default, as plain values: types are checked by `check_config`."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.store(name="schema", node=dataclasses.asdict(Config()))
    for group in ("model", "dataset", "optimizer"):
        for plugin in plugin_names(group):
            store.store(group=group, name=plugin, node={"name": plugin})


def _one_line(error: Exception) -> str:
    """Return the first sentence of one of Hydra's messages, which can run over many lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])
