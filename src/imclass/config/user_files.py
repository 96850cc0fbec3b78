"""YAML files that do not come with imclass: experiment=FILE.yaml and the groups below --config-dir.

Hydra instantiates whatever `_target_` names in its own node, opens the log files that it is configured to
open, and resolves `${oc.env:...}`. So a file is read as data, and may do two things only: choose from our
groups, and set our settings. Hydra never sees the file itself, nor its folder: it reads a copy that is
written anew from the data, so nothing that only Hydra would find in the file counts. No torch here.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from imclass.config.check import flatten
from imclass.config.groups import group_names
from imclass.config.overrides import is_file_name, key_of, parse, sweep_values
from imclass.config.schema import SECTIONS, SETTINGS
from imclass.config.setting import brief
from imclass.config.yaml_file import parse_yaml, read_text
from imclass.errors import UserError

_GROUP = re.compile(r"(?:override +|optional +)*/(\w+)")
_NAME = re.compile(r"(?!.*\.ya?ml$)[\w.+-]+", re.IGNORECASE)
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
_MOST_REFERENCES = 3  # in one value


def check_config_dir(folder: Path) -> None:
    """Raise UserError unless every file that Hydra could read below `folder` is sound."""
    if not folder.is_dir():
        raise UserError(f"--config-dir={folder}: no such folder")
    if (folder / "hydra").exists():
        raise UserError(f"{folder / 'hydra'}: Hydra's own groups cannot be replaced; remove it")
    for group in group_names():
        for file in sorted((folder / group).glob("*.yaml")):
            checked_copy(file, group)


def copy_groups(folder: Path, scratch: Path) -> None:
    """Copy the choices in the groups below a folder to `scratch`, unless it has such a choice already."""
    for group in group_names():
        for file in (folder / group).glob("*.yaml"):
            (scratch / group).mkdir(exist_ok=True)
            copy = scratch / group / file.name
            if not copy.exists():
                copy.write_text(checked_copy(file, group), encoding="utf-8")


def checked_copy(file: Path, group: str) -> str:
    """Return a choice of `group` as YAML for Hydra, made from the file's data.

    Raises UserError naming file and key.
    """
    from omegaconf import OmegaConf

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
        raise UserError(f"{file}: expected as the first line of an experiment: # @package _global_")
    if package != "_global_" and (sections := [section for section in SECTIONS if section in content]):
        first = "expected as the first line of a choice that does: # @package _global_"
        raise UserError(f"{file}: sets the section {sections[0]}; {first}")
    head = "# @package _global_\n" if package == "_global_" or group == "experiment" else ""
    return head + OmegaConf.to_yaml(OmegaConf.create(content))


def _package(text: str, file: Path) -> str | None:
    """Return the package that the comments before all else in a file name, None where they name none."""
    package = None
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    for line in itertools.takewhile(lambda line: line.startswith("#"), lines):
        if not re.match(r"#\s*@", line):
            continue
        match = re.fullmatch(r"#\s*@package +(\S+)", line)
        if match is None:
            raise UserError(f"{file}: {line}: expected # @package _global_")
        if package is not None:
            raise UserError(f"{file}: {line}: a second @package; keep one")
        package = match[1]
    return package


def _problems(content: dict[Any, Any]) -> Iterator[str]:
    defaults = content.get("defaults") or []
    if not isinstance(defaults, list):
        yield "defaults: expected a list such as [override /model: lenet]"
        return
    yield from filter(None, map(_default_problem, defaults))
    settings = {k: v for k, v in content.items() if k != "defaults"}
    yield from _value_problems(settings, "")
    yield from _reference_problems(settings)
    for section in SECTIONS:
        if isinstance(settings.get(section), list):  # Hydra's message names neither file nor key
            yield f"{section}={brief(settings[section])}: expected settings of the section {section}"


def _default_problem(entry: Any) -> str | None:
    """Return the problem with an entry of the defaults list, or None: it may choose from our groups only."""
    shown = ": ".join(map(str, *entry.items())) if isinstance(entry, dict) and len(entry) == 1 else entry
    if isinstance(entry, str):
        choices: Any = entry
    elif isinstance(entry, dict) and len(entry) == 1:
        ((group, choices),) = entry.items()
        match = _GROUP.fullmatch(str(group))
        if match is None or match[1] not in group_names():
            return f"defaults: {shown}: expected one of the groups /{', /'.join(group_names())}"
    else:
        return f"defaults: {shown}: expected an entry such as override /model: lenet"
    for choice in _listed(choices):
        if choice is not None and not (isinstance(choice, str) and _NAME.fullmatch(choice)):
            return f"defaults: {shown}: expected the name of a choice"
    return None


def _value_problems(value: Any, key: str) -> Iterator[str]:
    """Yield the problems with the keys and values below `key`."""
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


def _reference_problems(settings: dict[Any, Any]) -> Iterator[str]:
    """Yield the problems with ${...}: of settings that name each other, each could be twice as long."""
    texts = {key: str(value) for key, value in flatten(settings).items()}
    for key, text in texts.items():
        names = _REFERENCE.findall(text)
        if "${" in _REFERENCE.sub("", text) or set(names) - SETTINGS.keys():
            yield f"{key}={brief(text)}: in a file, ${{...}} can only name a setting, such as ${{seed}}"
        elif len(names) > _MOST_REFERENCES or any("${" in texts.get(name, "") for name in names):
            most = f"at most {_MOST_REFERENCES} settings in one value"
            yield f"{key}={brief(text)}: expected {most}, none of which names another"


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
    if not any(map(is_file_name, itertools.chain.from_iterable(map(_listed, values)))):
        return text
    (scratch / "experiment").mkdir(exist_ok=True)
    return f"{text.partition('=')[0]}={','.join(_names(value, scratch / 'experiment') for value in values)}"


def _listed(choice: Any) -> list[Any]:
    return choice if isinstance(choice, list) else [choice]


def _names(choice: Any, folder: Path) -> str:
    """Return a choice, or a list of them, in Hydra's grammar: names in place of files."""
    if isinstance(choice, list):
        return f"[{','.join(_names(item, folder) for item in choice)}]"
    if is_file_name(choice):
        return _copy(Path(choice), folder)
    return "null" if choice is None else str(choice)


def _copy(file: Path, folder: Path) -> str:
    """Copy a YAML file under a name that is free in `folder`; return it without its ending."""
    name = "file_" + re.sub(r"[^A-Za-z0-9_]", "_", file.stem)
    while (folder / f"{name}.yaml").exists():  # of another folder
        name += "_"
    (folder / f"{name}.yaml").write_text(checked_copy(file, "experiment"), encoding="utf-8")
    return name
