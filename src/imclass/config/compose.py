"""Compose a configuration with Hydra, and report every mistake in it at once. No torch here.

Hydra stops at the first mistake. So the overrides are checked one by one first; if some are wrong, the
others are composed without them, and the problems of both are reported together.
"""

import contextlib
import dataclasses
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imclass.config.check import check_config
from imclass.config.groups import NAMED_BY, SIGNATURES, config_dir, group_choices, plugins
from imclass.config.model_names import torchvision_models
from imclass.config.overrides import is_sweep, key_of, override_problem, parse, quoted, samples, sweep_values
from imclass.config.run_names import run_path, user_path
from imclass.config.schema import GROUPS, Config
from imclass.config.smoke import smoke_run
from imclass.config.stored import stored_with
from imclass.config.user_files import copy_groups, with_experiment_files
from imclass.errors import ConfigError, UserError, did_you_mean


def compose_config(overrides: Sequence[str], config_dirs: Sequence[Path], *, to_train: bool = True) -> Config:
    """Return the configuration that `overrides` compose. Raises ConfigError, UserError.

    to_train: as of `check_config`.
    """
    from hydra import compose

    with composing(overrides, config_dirs) as (_, words):
        return checked(compose("train", words), overrides, to_train=to_train)


@contextlib.contextmanager
def composing(
    overrides: Sequence[str], config_dirs: Sequence[Path], scratch: Path | None = None
) -> Iterator[tuple[Any, list[str]]]:
    """Within the block, Hydra can compose; also inside a job that it runs itself.

    Yields Hydra, and the overrides with what it needs to find the files that they name. scratch: a folder
    for copies of these, if they have to outlive the block. Hydra's errors become UserErrors.
    """
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    _register_schema(overrides, config_dirs)
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    with tempfile.TemporaryDirectory() as temporary:
        folder = scratch or Path(temporary)
        try:
            for user_dir in config_dirs:
                copy_groups(user_dir, folder)
            words = with_experiment_files(overrides, folder)
            search = quoted(f"file://{folder.absolute()}")
            with initialize_config_dir(str(config_dir()), version_base="1.3"):
                yield GlobalHydra.instance().hydra, [*words, f"hydra.searchpath=[{search}]"]
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(_one_line(error)) from error
        finally:
            GlobalHydra.instance().hydra = running


def checked(composed: Any, overrides: Sequence[str], *, to_train: bool = True) -> Config:
    """Return what Hydra composed from `overrides` as a `Config`; with resume=RUN, the run's own settings.

    Paths are absolute where the run is opened from other folders later.
    """
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(composed, resolve=True)
    resume = _name_runs(plain)
    if resume not in ("auto", "never"):
        typed = _typed(overrides) | {"resume": resume}
        if "model.weights" in typed:
            typed["model.weights"] = plain["model"]["weights"]
        config = stored_with(Path(resume), typed)
    else:
        config = check_config(plain, to_train=to_train)
    config = smoke_run(config) if config.train.smoke else config
    root = config.dataset.root and user_path(config.dataset.root)
    if not root or not root.exists():  # null, or what a data set of another package understands
        return config
    return dataclasses.replace(config, dataset=dataclasses.replace(config.dataset, root=str(root.absolute())))


def _name_runs(plain: dict[str, Any]) -> str:
    """Replace the names of runs in what was composed by the paths of their folders; return `resume`."""
    model, output_dir = plain.get("model"), plain.get("output_dir")
    if not isinstance(output_dir, str):
        return "auto"
    if isinstance(model, dict) and isinstance(model.get("weights"), str):
        model["weights"] = run_path(model["weights"], output_dir)
    if isinstance(plain.get("resume"), str) and plain["resume"] not in ("auto", "never"):
        plain["resume"] = run_path(plain["resume"], output_dir)
        return str(plain["resume"])
    return "auto"


def _typed(overrides: Sequence[str]) -> dict[str, Any]:
    """Return {key: value} of plain overrides; groups under `group=`."""
    parsed = [parse(text) for text in overrides]
    return {o.key_or_group + ("=" if o.key_or_group in GROUPS else ""): o.value() for o in parsed}


def check_overrides(overrides: Sequence[str], config_dirs: Sequence[Path]) -> None:
    """Raise ConfigError with every faulty override, and with the problems of what the others compose.

    Sweeps are checked value by value, and composed with the first values of the other sweeps.
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
    found: dict[str, str] = {}  # each problem, and with which values of the sweeps it arises
    for sample in samples({k: v for k, v in sweeps.items() if not k.startswith("hydra")}):
        chosen = [f"{key}={value}" for key, value in sample.items()]
        try:
            configs.append(compose_config([*overrides, *chosen], config_dirs))
        except UserError as error:
            for problem in _problems(error):
                named = not chosen or any(c in problem for c in chosen)
                found.setdefault(problem, problem if named else f"{problem} (with {', '.join(chosen)})")
    if found and sweeps:  # some of it is wrong whatever the sweeps say
        try:
            compose_config(overrides, config_dirs)
        except UserError as error:
            found |= {problem: problem for problem in _problems(error) if problem in found}
    return configs, list(found.values())


def _problems(error: UserError) -> Sequence[str]:
    return error.problems if isinstance(error, ConfigError) else [str(error)]


def _register_schema(overrides: Sequence[str], config_dirs: Sequence[Path]) -> None:
    """Give Hydra every key with its default, as plain values: types are checked by `check_config`.

    And the choices without a YAML file: those of plug-ins, and models of torchvision and timm.
    """
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.store(name="schema", node=dataclasses.asdict(Config()))
    for group in SIGNATURES:
        for plugin in plugins(group):
            store.store(group=group, name=plugin, node={NAMED_BY.get(group, "name"): plugin})
    typed = [text.partition("=")[2] for text in overrides if key_of(text) == "model"]
    named = {name for text in typed for name in re.findall(r"[\w./]+", text)}
    if any(key_of(text) == "experiment" for text in overrides):  # may choose any
        named |= torchvision_models()
    for name in named - set(group_choices("model", *config_dirs)):
        folder, _, choice = f"model/{name}".rpartition("/")
        store.store(group=folder, name=choice, package="model", node={"name": name})


def _one_line(error: Any) -> str:
    """Return one of Hydra's or OmegaConf's messages as one line that begins with what it is about."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    missing = getattr(error, "missing_cfg_file", None)
    if missing is not None:
        group, _, choice = str(missing).rpartition("/")
        known = error.options or []
        return f"defaults: {group}: {choice}: no such choice{did_you_mean(choice, known)}"
    key = getattr(error, "full_key", None)
    return f"{key}: {lines[0]}" if key else " ".join(lines[:3])
