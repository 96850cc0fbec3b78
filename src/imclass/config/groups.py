"""The config groups: their YAML files, their choices, and what other packages add. No torch here."""

import inspect
import re
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from imclass.config.setting import show
from imclass.errors import ImclassError, UserError, did_you_mean, first_line

T = TypeVar("T")

# How the functions look that other packages add through the entry points imclass.models and the like.
SIGNATURES = {
    "model": "build(config: ModelConfig, in_channels: int, classes: int, size: int) -> torch.nn.Module",
    "dataset": "load(config: DatasetConfig) -> imclass.data.dataset.Dataset",
    "optimizer": "build(config: OptimizerConfig, model: torch.nn.Module) -> torch.optim.Optimizer",
    "augment": "augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor",
}
OR_INSTALL = " (if a package of its own adds it, install that here)"  # a run may be from another machine
NAMED_BY = {"augment": "plugin"}  # the setting that names a plug-in, if that is not `name`


def config_dir() -> Path:
    """Return the folder of the shipped YAML files: inside the wheel, or of the checkout."""
    package = Path(__file__).resolve().parents[1]
    bundled = package / "configs"
    return bundled if bundled.is_dir() else package.parents[1] / "configs"


def group_names() -> list[str]:
    """Return the names of the groups: the folders of the shipped YAML files."""
    folders = (path.name for path in config_dir().iterdir() if path.is_dir())
    return sorted(name for name in folders if name != "hydra" and not name.startswith("."))


def shipped_choices(group: str) -> list[str]:
    """Return the choices of a config group that come with imclass."""
    return sorted(file.stem for file in (config_dir() / group).glob("*.yaml"))


def group_choices(group: str, *extra_dirs: Path) -> list[str]:
    """Return the choices of a config group: its YAML files, and the names that plug-ins add."""
    files = [p.stem for folder in (config_dir(), *extra_dirs) for p in (folder / group).glob("*.yaml")]
    return sorted({*files, *plugins(group)})


def is_shipped(group: str, choice: str) -> bool:
    return (config_dir() / group / f"{choice}.yaml").is_file()


def described_choices(group: str) -> dict[str, str]:
    """Return each choice of a config group with the first sentence of its file, "" for a plug-in's."""
    return {name: _first_sentence(config_dir() / group / f"{name}.yaml") for name in group_choices(group)}


def _first_sentence(file: Path) -> str:
    """Return the first sentence of the comment that opens a YAML file; commands in it are skipped."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    comments = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    text = " ".join(c for c in comments if not c.startswith(("@package", "yaml-language-server", "imclass ")))
    return re.split(r"(?<=[a-z0-9)%])\. (?=[A-Z])", text)[0].rstrip(".")


def plugins(group: str) -> dict[str, EntryPoint]:
    """Return what installed packages add to a group through entry points: imclass.models and the like."""
    return {point.name: point for point in entry_points(group=f"imclass.{group}s")}


def component(
    group: str, name: str, shipped: Mapping[str, Callable[..., T]], returns: type[T]
) -> Callable[..., T]:
    """Return what builds the choice `name` of a group: one of `shipped`, else what an installed package adds.

    Raises UserError naming the nearest choice where there is none.
    """
    if name in shipped:
        return shipped[name]
    if name in plugins(group):
        return _load_plugin(group, name, returns)
    near = did_you_mean(name, [*shipped, *plugins(group)])
    typed = f"{group}.{NAMED_BY.get(group, 'name')}={show(name)}"
    raise UserError(f"{typed}: no such {group}{near or f'; see imclass list {group}s'}{OR_INSTALL}")


def _load_plugin(group: str, name: str, returns: type[T]) -> Callable[..., T]:
    """Return the function that another package adds to a group; its signature is in `SIGNATURES`.

    Raises UserError, and the function does, for whatever is wrong with it: one line that names it.
    """
    plugin = plugins(group)[name]
    source = f"{group}.{NAMED_BY.get(group, 'name')}={name}: the plug-in {plugin.value}"
    expected = f"expected {SIGNATURES[group]}"
    try:
        function = plugin.load()
    except Exception as error:  # whatever importing somebody's package raises
        raise UserError(f"{source} cannot be imported ({first_line(error)})") from error

    def call(*arguments: Any) -> T:
        try:
            inspect.signature(function).bind(*arguments)
        except (TypeError, ValueError) as error:
            raise UserError(f"{source} has another signature ({first_line(error)}); {expected}") from error
        try:
            result = function(*arguments)
        except ImclassError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise UserError(f"{source} raises {reason} (debug=true shows where); {expected}") from error
        if not isinstance(result, returns):
            raise UserError(f"{source} returns {type(result).__name__}; {expected}")
        return result

    return call
