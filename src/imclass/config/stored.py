"""The configuration of a run that exists, read back from its config.yaml as plain data."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from imclass.config.check import check_config, flatten
from imclass.config.run_names import similar_runs
from imclass.config.schema import SETTINGS, Config
from imclass.config.yaml_file import parse_yaml, read_yaml
from imclass.errors import ConfigError, UserError

RESTORE = "restore it; report.html lists the settings"


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings in a run's config.yaml, nested, as plain data: nothing in them is resolved.

    Raises UserError when there is no such file, or it is no YAML.
    """
    file = path / "config.yaml"
    if not file.exists():
        require_settings(path)
        raise UserError(f"{path}: expected a run (a folder with a config.yaml)")
    try:
        stored = read_yaml(file)
    except UserError as error:
        raise UserError(f"{error}; {RESTORE}") from error
    if not isinstance(stored, dict):
        raise UserError(f"{file}: expected settings as a run writes them; {RESTORE}")
    return as_of_today(stored)


def require_settings(path: Path) -> None:
    """Raise UserError where a folder is a run's but for its config.yaml."""
    if (path / "checkpoints").is_dir() and not (path / "config.yaml").exists():
        raise UserError(f"{path / 'config.yaml'}: is gone; {RESTORE}")


def require_valid(settings: dict[str, Any], path: Path) -> None:
    """Raise ConfigError naming the config.yaml of the run `path` for settings that no run has, or none."""
    if not settings:
        raise UserError(f"{path / 'config.yaml'}: empty; {RESTORE}")
    try:
        check_config(settings, to_train=False)
    except ConfigError as error:
        raise ConfigError([f"{path / 'config.yaml'}: {problem}" for problem in error.problems]) from error


def trained_settings(text: str, checkpoint: Path) -> dict[str, Any]:
    """Return {key: value} of what a run was trained with and may not be resumed without.

    text: the configuration inside the checkpoint, YAML. Raises UserError where it is none.
    """
    trained = flatten(as_of_today(parse_yaml(text, f"{checkpoint}: config")))
    free = {k for k, s in SETTINGS.items() if s.free_on_resume or s.lengthens or not s.affects_results}
    return {key: value for key, value in trained.items() if key in SETTINGS and key not in free}


def as_of_today(settings: dict[str, Any]) -> dict[str, Any]:
    """Put what the settings of an older run meant into today's, in place.

    A bare number as a duration meant epochs; before there was a background, transparency was ignored.
    """

    def in_epochs(value: Any) -> Any:
        if isinstance(value, list):
            return [in_epochs(item) for item in value]
        return f"{value}ep" if value and re.fullmatch(r"[\d.]+(e[+-]?\d+)?", str(value)) else value

    data = settings.get("dataset")
    if isinstance(data, dict) and data.get("name") == "image_folder":
        data.setdefault("background", "ignore")
    for key in [key for key, setting in SETTINGS.items() if setting.unit]:
        section, name = key.split(".")
        if isinstance(settings.get(section), dict) and name in settings[section]:
            settings[section][name] = in_epochs(settings[section][name])
    return settings


def stored_with(path: Path, typed: Mapping[str, Any]) -> Config:
    """Return the run's own configuration with what the user typed on top: {key: value}, groups as `key=`."""
    if typed.get("name") not in (None, path.name):
        raise UserError(f"name={typed['name']}: resume={path} resumes in its own folder; leave name= out")
    groups = [key.rstrip("=") for key in typed if key.endswith("=")]
    if groups:
        raise UserError(
            f"{groups[0]}=...: resume={path} takes its settings from the run; leave this out, or type "
            f"model.weights={path} in place of resume={path} to start from its weights"
        )
    if not (path / "config.yaml").exists():
        require_settings(path)
        shown = f"resume={path}: expected auto, never, or a run (a folder with a config.yaml)"
        raise UserError(f"{shown}{similar_runs(str(path))}")
    settings = read_settings(path)
    require_valid(settings, path)
    stored = OmegaConf.create(settings)
    for key, value in typed.items():
        if key != "name" and not key.startswith("hydra"):
            OmegaConf.update(stored, key, value)
    return check_config(OmegaConf.to_container(stored), typed=typed)  # type: ignore[arg-type]
