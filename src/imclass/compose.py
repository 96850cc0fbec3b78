"""Compose a configuration with Hydra, and report every mistake in it at once.

Hydra stops at the first mistake. So the overrides are looked at one by one first; if some are wrong,
the rest is composed without them, and the problems of both are reported together. No torch here.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from imclass.checks import all_keys, check_config, sections, show, unknown_key, value_problem
from imclass.config import Config, config_dir, group_choices, plugin_names
from imclass.errors import ConfigError, ImclassError, Interrupted, UserError, did_you_mean
from imclass.rundir import stored_with

# Flags of Hydra's own command line that take a value.
_VALUED_FLAGS = {"--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--cfg", "-c"}
_VALUED_FLAGS |= {"--package", "-p", "--hydra-help-choice"}
_PLAIN_FLAGS = {"--help", "-h", "--hydra-help", "--version", "--multirun", "-m", "--run", "-r", "--resolve"}
_PLAIN_FLAGS |= {"--info", "-i", "--shell-completion", "-sc", "--experimental-rerun"}


def run_hydra(task: Callable[[Config], None], command: str, argv: Sequence[str]) -> None:
    """Run `task` on the configuration that `argv` composes; with `-m` once per job.

    Raises ConfigError with all problems of the configuration.
    """
    flags, overrides, config_dirs = _split_arguments(argv)
    if not {"--help", "-h", "--hydra-help"} & set(argv):
        _check_overrides(overrides, config_dirs)
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    _register_schema()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hand us the exception: we print one line and choose the exit code
    sys.argv = [f"imclass {command}", *flags, *overrides]  # argparse takes no flags between overrides

    failures: list[ImclassError] = []

    @hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="train")
    def main(composed: Any) -> None:
        if any(isinstance(failure, Interrupted) for failure in failures):
            return  # -m: the jobs after an interrupted one wait for the same command
        try:
            task(_checked(composed))
        except ImclassError as error:  # -m: the other jobs go on
            failures.append(error)

    with tempfile.TemporaryDirectory() as scratch:  # of a multirun's own record: ours is in each run folder
        sys.argv.append(f"hydra.sweep.dir={scratch}")
        try:
            main()
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(_one_line(error)) from error
    for failure in failures[:-1]:
        print(f"imclass: {failure}", file=sys.stderr)
    if failures:
        raise failures[-1]


def _typed_overrides() -> dict[str, Any]:
    """Return {key: value} of the plain overrides of the running job; groups under `group=`."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    return {o.key_or_group + ("=" if o.key_or_group in sections() else ""): o.value() for o in parsed}


def _checked(composed: Any) -> Config:
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(composed, resolve=True)
    if isinstance(plain.get("resume"), str) and plain["resume"] not in ("auto", "never"):
        return stored_with(Path(plain["resume"]), _typed_overrides())
    return check_config(plain)


def _register_schema() -> None:
    """Give Hydra every key with its default, as plain values: types are checked by `check_config`."""
    import dataclasses

    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.store(name="schema", node=dataclasses.asdict(Config()))
    for group in ("model", "dataset", "optimizer"):
        for plugin in plugin_names(group):
            store.store(group=group, name=plugin, node={"name": plugin})


def _split_arguments(argv: Sequence[str]) -> tuple[list[str], list[str], list[Path]]:
    """Return Hydra's flags with their values, the overrides, and the folders given by --config-dir."""
    flags: list[str] = []
    overrides: list[str] = []
    dirs: list[Path] = []
    rest = iter(argv)
    for word in rest:
        if not word.startswith("-"):
            overrides.append(word)
            continue
        flag, _, value = word.partition("=")
        if flag not in _VALUED_FLAGS | _PLAIN_FLAGS:
            near = did_you_mean(flag.strip("-"), all_keys()) or "; settings are typed as key=value"
            raise UserError(f"{flag}: no such option{near}")
        flags.append(word)
        if word in _VALUED_FLAGS:
            value = next(rest, "")
            if not value:
                raise UserError(f"{word}: needs a value after it")
            flags.append(value)
        if flag in ("--config-dir", "-cd"):
            dirs.append(Path(value))
    for folder in dirs:
        if not folder.is_dir():
            raise UserError(f"--config-dir={folder}: no such folder")
    return flags, overrides, dirs


def _check_overrides(overrides: Sequence[str], config_dirs: Sequence[Path]) -> None:
    """Raise ConfigError with every faulty override, and with the problems of what the others compose."""
    good: list[str] = []
    problems: list[str] = []
    seen: set[str] = set()
    for text in overrides:
        key = text.split("=")[0].lstrip("+~")
        problem = f"{key}: given twice; keep one" if key in seen else _override_problem(text, config_dirs)
        seen.add(key)
        if problem is not None:
            problems.append(problem)
        elif not _is_sweep(text):
            good.append(text)
    if problems:
        raise ConfigError(problems + _problems_of(good, config_dirs))


def _override_problem(text: str, config_dirs: Sequence[Path]) -> str | None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException:
        return f"{text!r}: expected key=value or group=choice (quote special characters: 'key=\"a b\"')"
    key = override.key_or_group
    if key.startswith("hydra"):
        return None
    if key in sections():
        return _choice_problem(key, override, config_dirs)
    if key not in all_keys():
        return unknown_key(key)
    if override.is_sweep_override() or override.is_delete():
        return None
    value = override.value()
    return None if isinstance(value, str) and "${" in value else value_problem(key, value)


def _is_sweep(text: str) -> bool:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(text).is_sweep_override()


def _choice_problem(group: str, override: Any, config_dirs: Sequence[Path]) -> str | None:
    if override.is_sweep_override():
        return None
    value, known = override.value(), group_choices(group, *config_dirs)
    for choice in value if isinstance(value, list) else [value]:
        if (choice is None and group != "experiment") or (choice is not None and str(choice) not in known):
            near = did_you_mean(str(choice), known)
            among = f" among {', '.join(known)}" if len(known) <= 8 or not near else ""
            return f"{group}={show(choice)}: no such choice{among}{near}"
    return None


def _problems_of(overrides: Sequence[str], config_dirs: Sequence[Path]) -> list[str]:
    """Return the problems of the configuration that `overrides` compose."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException

    if any(override.startswith(("hydra", "resume=")) for override in overrides):
        return []
    _register_schema()
    search = (
        [f"hydra.searchpath=[{','.join(f'file://{d.absolute()}' for d in config_dirs)}]"]
        if config_dirs
        else []
    )
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(config_dir())):
            _checked(compose(config_name="train", overrides=[*overrides, *search]))
    except ConfigError as error:
        return list(error.problems)
    except HydraException as error:
        return [_one_line(error)]
    return []


def _one_line(error: Exception) -> str:
    """Return the first sentence of one of Hydra's messages, which can run over many lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])
