"""The config groups: where their YAML files are, and which choices each has. No torch here."""

import re
from importlib.metadata import entry_points
from pathlib import Path


def config_dir() -> Path:
    """Return the folder of the shipped YAML files: inside the wheel, or of the checkout."""
    package = Path(__file__).resolve().parents[1]
    bundled = package / "configs"
    return bundled if bundled.is_dir() else package.parents[1] / "configs"


def group_names() -> list[str]:
    """Return the names of the groups: the folders of the shipped YAML files."""
    return sorted(path.name for path in config_dir().iterdir() if path.is_dir() and path.name != "hydra")


def group_choices(group: str, *extra_dirs: Path) -> list[str]:
    """Return the choices of a config group: its YAML files and the names that plugins add."""
    files = [p.stem for folder in (config_dir(), *extra_dirs) for p in (folder / group).glob("*.yaml")]
    return sorted({*files, *plugin_names(group)})


def is_shipped(group: str, choice: str) -> bool:
    return (config_dir() / group / f"{choice}.yaml").is_file()


def described_choices(group: str) -> dict[str, str]:
    """Return each choice of a config group with the first sentence of its file, "" for a plug-in's."""
    return {name: _first_sentence(config_dir() / group / f"{name}.yaml") for name in group_choices(group)}


def _first_sentence(file: Path) -> str:
    """Return the first sentence of the comment that opens a YAML file; commands in it are skipped."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    comments = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    text = " ".join(c for c in comments if not c.startswith(("@package", "imclass ")))
    return re.split(r"(?<=[a-z0-9)%])\. (?=[A-Z])", text)[0].rstrip(".")


def plugin_names(group: str) -> list[str]:
    """Return the names that other packages add to a group through entry points."""
    return sorted(entry_points(group=f"imclass.{group}s").names)
