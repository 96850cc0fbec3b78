"""Overrides as they are typed, looked at one by one: what is wrong with each, and what a sweep stands for.

No torch here.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imclass.config.check import all_keys, sections, show, unknown_key, value_problem
from imclass.config.conflicts import torchvision_models
from imclass.config.groups import group_choices
from imclass.config.user_files import check_config_dir, read_user_file
from imclass.errors import UserError, did_you_mean

# Flags of Hydra's own command line that take a value.
_VALUED_FLAGS = {"--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--cfg", "-c"}
_VALUED_FLAGS |= {"--package", "-p", "--hydra-help-choice"}
_PLAIN_FLAGS = {"--help", "-h", "--hydra-help", "--version", "--multirun", "-m", "--run", "-r", "--resolve"}
_PLAIN_FLAGS |= {"--info", "-i", "--shell-completion", "-sc", "--experimental-rerun"}

# How many values of one sweep are composed before anything starts, at a twentieth of a second each.
_TRIED = 40


def split_arguments(argv: Sequence[str]) -> tuple[list[str], list[str], list[Path]]:
    """Return Hydra's flags with their values, the overrides, and the folders given by --config-dir.

    Raises UserError for a flag that Hydra does not have, or a folder that does not exist.
    """
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
        check_config_dir(folder)
    return flags, overrides, dirs


def key_of(text: str) -> str:
    """Return the key or group that an override is about."""
    return text.split("=")[0].lstrip("+~")


def parse(text: str) -> Any:
    """Return Hydra's `Override` of `text`; None if it is not of Hydra's grammar."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        return None


def quoted(path: Path | str) -> str:
    """Return a path as the value of an override: in Hydra's quotes, unless nothing in it needs them."""
    from hydra.core.override_parser.types import Quote, QuotedString

    if re.fullmatch(r"[A-Za-z0-9_.:/-]*/[A-Za-z0-9_.:/-]*", str(path)):
        return str(path)
    return QuotedString(text=str(path), quote=Quote.single).with_quotes()


def is_sweep(text: str) -> bool:
    """Tell whether an override stands for many values: a,b or choice(), range(), interval(), glob()."""
    override = parse(text)
    return override is not None and override.is_sweep_override()


def sweep_values(override: Any, config_dirs: Sequence[Path]) -> list[str]:
    """Return the values of a sweep as the user would type them; of an interval, its two ends."""
    if override.is_interval_sweep():
        return [repr(override.value().start), repr(override.value().end)]
    if override.is_range_sweep():
        return [f"{value:.12g}" for value in override.sweep_iterator()]
    if hasattr(override.value(), "filter"):  # glob(): of the choices of a group
        return list(override.value().filter(group_choices(override.key_or_group, *config_dirs)))
    return list(override.sweep_string_iterator())


def _grammar_problem(text: str) -> str:
    """Return why Hydra does not read `text`: a function in it, or how it is written."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_override(text)
    except HydraException as error:
        evaluated = re.search(r"while evaluating '(.*)': (.*)(?:\nAvailable: (.*))?", str(error))
        if evaluated is not None:
            name = evaluated[1].split("(")[0]
            near = did_you_mean(name, evaluated[3].split(",")) if evaluated[3] else ""
            return f"{text}: {evaluated[1]}: {evaluated[2]}{near}"
    return f"{text!r}: expected key=value or group=choice (quote special characters: 'key=\"a b\"')"


def override_problem(text: str, config_dirs: Sequence[Path]) -> str | None:
    """Return what is wrong with one override, or None. Of a sweep, every value is looked at."""
    override = parse(text)
    if override is None:
        return _grammar_problem(text)
    key = override.key_or_group
    if override.package is not None:
        return f"{text}: type the group without @{override.package}"
    if re.match(r"hydra\b", key):
        return _hydra_problem(text, key)
    if key.split(".")[0] == "sweep":
        return f"{key}: belongs to imclass sweep"
    if key not in sections() and key not in all_keys():
        return unknown_key(key)
    if override.is_sweep_override():
        values = sweep_values(override, config_dirs)
        if not values:
            return f"{text}: stands for no value at all"
        return next(filter(None, (override_problem(f"{key}={v}", config_dirs) for v in values)), None)
    if key in sections():
        return _choice_problem(key, override.value(), config_dirs)
    if override.is_delete():
        return None
    value = override.value()
    return None if isinstance(value, str) and "${" in value else value_problem(key, value)


def _hydra_problem(text: str, key: str) -> str | None:
    """Return why one of Hydra's own settings cannot be set; only its launcher can, which submits jobs."""
    launcher = re.fullmatch(r"hydra/launcher=\w+", text) or re.fullmatch(r"hydra\.launcher(\.[a-z]\w*)+", key)
    if launcher and not text.startswith("~"):
        return None
    return f"{key}: of Hydra's own settings, only hydra/launcher=NAME and hydra.launcher.KEY=VALUE can be set"


def _choice_problem(group: str, value: object, config_dirs: Sequence[Path]) -> str | None:
    known = group_choices(group, *config_dirs)
    for choice in value if isinstance(value, list) else [value]:
        if group == "experiment" and is_file_name(choice):
            if not Path(str(choice)).exists():
                return f"{group}={show(choice)}: no such file"
        elif (choice is None and group != "experiment") or (choice is not None and str(choice) not in known):
            if group == "model" and choice in torchvision_models():
                return f"model={choice}: no such choice, but torchvision has it; type model.name={choice}"
            near = did_you_mean(str(choice), known)
            among = f" among {', '.join(known)}" if len(known) <= 8 or not near else ""
            return f"{group}={show(choice)}: no such choice{among}{near}"
    return None


def is_file_name(choice: object) -> bool:
    """Tell whether a choice of the group `experiment` is the path of a YAML file."""
    return str(choice).endswith((".yaml", ".yml"))


def with_experiment_files(overrides: Sequence[str], scratch: Path) -> tuple[list[str], bool]:
    """Make experiment=some/where.yaml a choice: copy the file into a folder for Hydra's search path.

    Return the overrides with such choices, and whether there are any. Of a sweep, each value is looked at.
    """
    changed = [_copied(text, scratch) if key_of(text) == "experiment" else text for text in overrides]
    return changed, changed != list(overrides)


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


def samples(sweeps: Mapping[str, Sequence[str]]) -> Iterator[dict[str, str]]:
    """Yield settings that together contain every value of every sweep: {key: value}.

    The first has the first value of each; the others differ from it in one.
    """
    first = {key: values[0] for key, values in sweeps.items()}
    yield first
    for key, values in sweeps.items():
        for value in itertools.islice(values, 1, _TRIED):
            yield first | {key: value}
