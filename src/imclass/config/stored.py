"""The configuration of a run that exists, read back from its config.yaml as plain data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from imclass.config.check import check_config
from imclass.config.schema import Config
from imclass.config.yaml_file import read_yaml
from imclass.errors import UserError


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings in a run's config.yaml, nested, as plain data: nothing in them is resolved.

    Raises UserError when there is no such file, or it is no YAML.
    """
    if not (path / "config.yaml").exists():
        raise UserError(f"resume={path}: expected auto, never, or a run folder with a config.yaml")
    stored = read_yaml(path / "config.yaml")
    if not isinstance(stored, dict):
        raise UserError(
            f"{path / 'config.yaml'}: expected settings as a run writes them; choose another name="
        )
    return stored


def stored_with(path: Path, typed: Mapping[str, Any]) -> Config:
    """Return the run's own configuration with what the user typed on top: {key: value}, groups as `key=`."""
    if typed.get("name") not in (None, path.name):
        raise UserError(f"name={typed['name']}: resume={path} goes on in its own folder; leave name= out")
    groups = [key.rstrip("=") for key in typed if key.endswith("=")]
    if groups:
        raise UserError(f"{groups[0]}=...: resume={path} takes its settings from the run; leave this out")
    stored = OmegaConf.create(read_settings(path))
    for key, value in typed.items():
        if key != "name" and not key.startswith("hydra"):
            OmegaConf.update(stored, key, value)
    return check_config(OmegaConf.to_container(stored))  # type: ignore[arg-type]
