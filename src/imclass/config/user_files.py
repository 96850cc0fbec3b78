"""YAML files that do not come with imclass: experiment=FILE.yaml and the groups below --config-dir.

Hydra instantiates whatever `_target_` names in its own node, opens the log files that it is configured to
open, and resolves `${oc.env:...}`. So a file is read as data before Hydra sees it, and may do two things
only: choose from our groups, and set our settings. No torch here.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from imclass.config.groups import group_names
from imclass.config.overrides import is_file_name, key_of, parse, sweep_values
from imclass.config.setting import show
from imclass.config.yaml_file import parse_yaml, read_text
from imclass.errors import UserError

_GROUP = re.compile(r"(?:override +|optional +)*/?(\w+)")
_NAME = re.compile(r"(?!.*\.ya?ml$)[\w.+-]+", re.IGNORECASE)
_PLAIN_INTERPOLATION = re.compile(r"\$\{[\w.]+\}")


def check_config_dir(folder: Path) -> None:
    """Raise UserError unless every file that Hydra could read below `folder` is sound."""
    if not folder.is_dir():
        raise UserError(f"--config-dir={folder}: no such folder")
    if (folder / "hydra").exists():
        raise UserError(f"{folder / 'hydra'}: Hydra's own groups cannot be replaced; remove it")
    for group in group_names():
        for file in sorted((folder / group).glob("*.y*ml")):
            read_user_file(file, group)


def read_user_file(file: Path, group: str) -> str:
    """Return the text of a file that is a choice of `group`. Raises UserError naming file and key."""
    text = read_text(file)
    content = parse_yaml(text, str(file))
    package = _package(text, file)
    if package not in (None, "_global_", "_group_", group):
        raise UserError(f"{file}: @package {package}: expected _global_, or none")
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected settings, as key: value")
    if problem := next(_problems(content), None):
        raise UserError(f"{file}: {problem}")
    if group == "experiment" and package != "_global_" and content.keys() - {"defaults"}:
        raise UserError(f"{file}: an experiment's first line has to be: # @package _global_")
    return text


def _package(text: str, file: Path) -> str | None:
    """Return the package that the head of a file names: the lines that Hydra reads, as it reads them."""
    package = None
    for line in filter(None, map(str.strip, text.splitlines())):
        if not re.match(r"#\s*@", line):
            break
        match = re.fullmatch(r"#\s*@package +(\S+)", line)
        if match is None:
            raise UserError(f"{file}: {line}: expected # @package _global_")
        package = match[1]
    return package


def _problems(content: dict[Any, Any]) -> Iterator[str]:
    defaults = content.get("defaults") or []
    if not isinstance(defaults, list):
        yield "defaults: expected a list such as [override /model: lenet]"
        return
    yield from filter(None, map(_default_problem, defaults))
    yield from _value_problems({k: v for k, v in content.items() if k != "defaults"}, "")


def _default_problem(entry: Any) -> str | None:
    """Return what is wrong with an entry of the defaults list: it may choose from our groups only."""
    shown = ": ".join(map(str, *entry.items())) if isinstance(entry, dict) and len(entry) == 1 else entry
    if isinstance(entry, str):
        choices: Any = entry
    elif isinstance(entry, dict) and len(entry) == 1:
        ((group, choices),) = entry.items()
        match = _GROUP.fullmatch(str(group))
        if match is None or match[1] not in group_names():
            return f"defaults: {shown}: expected one of the groups {', '.join(group_names())}"
    else:
        return f"defaults: {shown}: expected an entry such as override /model: lenet"
    for choice in choices if isinstance(choices, list) else [choices]:
        if choice is not None and not (isinstance(choice, str) and _NAME.fullmatch(choice)):
            return f"defaults: {shown}: expected the name of a choice"
    return None


def _value_problems(value: Any, key: str) -> Iterator[str]:
    """Yield what is wrong with the keys and values below `key`."""
    if isinstance(value, dict):
        for name, below in value.items():
            path = f"{key}.{name}" if key else str(name)
            if str(name).startswith("_"):
                yield f"{path}: no setting begins with _, and a file cannot set what does"
            elif re.match(r"hydra\b", str(name)):
                yield f"{path}: a file cannot set Hydra's own settings"
            else:
                yield from _value_problems(below, path)
    elif isinstance(value, list):
        for item in value:
            yield from _value_problems(item, key)
    elif isinstance(value, str) and "${" in _PLAIN_INTERPOLATION.sub("", value):
        yield f"{key}={show(value)}: in a file, ${{...}} can only name a setting, such as ${{seed}}"


def with_experiment_files(overrides: Sequence[str], scratch: Path) -> list[str]:
    """Return the overrides with names in place of the files in experiment=some/where.yaml.

    Each file is checked and copied to `scratch`, which has to be on Hydra's search path.
    """
    return [_copied(text, scratch) if key_of(text) == "experiment" else text for text in overrides]


def _copied(text: str, scratch: Path) -> str:
    override = parse(text)
    if override is None or override.is_delete():
        return text
    texts = sweep_values(override, ()) if override.is_sweep_override() else [text.partition("=")[2]]
    values = [parse(f"experiment={value}").value() for value in texts]
    if not any(map(is_file_name, values)):
        return text
    (scratch / "experiment").mkdir(exist_ok=True)
    names = [_copy(Path(v), scratch / "experiment") if is_file_name(v) else str(v) for v in values]
    return f"{text.partition('=')[0]}={','.join(names)}"


def _copy(file: Path, folder: Path) -> str:
    """Copy a YAML file under a name that is free in `folder`; return it without its ending."""
    name = "file_" + re.sub(r"[^A-Za-z0-9_]", "_", file.stem)
    while (folder / f"{name}.yaml").exists():  # of another folder
        name += "_"
    text = read_user_file(file, "experiment")
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return name
