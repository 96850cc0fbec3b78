"""Checks overrides as they are typed, and lists the values of a sweep. No torch here."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imclass.config.check import unknown_key
from imclass.config.data_root import near_path
from imclass.config.groups import group_choices
from imclass.config.model_names import model_problem
from imclass.config.schema import GROUPS, SETTINGS
from imclass.config.setting import show
from imclass.errors import did_you_mean

# How many values of one sweep are composed before anything starts, at about 50 ms each.
_TRIED = 40


def key_of(text: str) -> str:
    """Return the key or group that an override sets."""
    return text.split("=")[0].lstrip("+~")


def parse(text: str) -> Any:
    """Return Hydra's `Override` of `text`; None if Hydra's grammar does not know it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        return None


def quoted(path: Path | str) -> str:
    """Return a path as the value of an override: in Hydra's quotes, unless nothing in it needs them."""
    from hydra.core.override_parser.types import Quote, QuotedString

    text = str(path)
    if re.fullmatch(r"[A-Za-z0-9_.:/-]+", text) and (found := parse(f"_={text}")) and found.value() == text:
        return text  # a folder may also be called null or 1e3, which Hydra does not read as text
    return QuotedString(text=text, quote=Quote.single).with_quotes()


def is_sweep(text: str) -> bool:
    """Return whether an override is a sweep: a,b or choice(), range(), interval(), glob()."""
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
    """Return why Hydra cannot parse `text`: a function in it, or how it is written."""
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
    if re.fullmatch(r"[^=]+", text) and text not in (*SETTINGS, *GROUPS):
        groups = [group for group in GROUPS if text in group_choices(group)]
        near = f"; did you mean {groups[0]}={text}?" if groups else near_path(text)
        return f"{text!r}: no such folder or file; expected one of pictures, key=value or group=choice{near}"
    return f"{text!r}: expected key=value or group=choice (quote special characters: 'key=\"a b\"')"


def override_problem(text: str, config_dirs: Sequence[Path]) -> str | None:
    """Return the problem with one override, or None; every value of a sweep is checked."""
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
    if (command := key.replace("_", "-")) in ("check", "lr-find", "plan"):
        return f"{text}: no setting but a command: imclass {command} ..."
    if key not in GROUPS and key not in SETTINGS:
        return unknown_key(key)
    if override.is_sweep_override():
        values = sweep_values(override, config_dirs)
        if not values:
            return f"{text}: stands for no value at all"
        return next(filter(None, (override_problem(f"{key}={v}", config_dirs) for v in values)), None)
    if key in GROUPS:
        return _choice_problem(key, override.value(), config_dirs)
    if override.is_delete():
        return None
    value = override.value()
    if isinstance(value, str) and "${" in value:
        return None
    return SETTINGS[key].check(value, typed=text.partition("=")[2])[1] or None


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
            file = Path(str(choice))
            if not file.exists():
                near = did_you_mean(str(file), map(str, file.parent.glob("*.y*ml")))
                return f"{group}={show(choice)}: no such file{near}"
        elif (choice is None and group != "experiment") or (choice is not None and str(choice) not in known):
            if group == "model" and isinstance(choice, str):
                problem = model_problem(choice, known)
                return problem and f"model={show(choice)}: {problem}"
            near = did_you_mean(str(choice), known)
            among = f" among {', '.join(known)}" if len(known) <= 8 or not near else ""
            return f"{group}={show(choice)}: no such choice{among}{near}"
    return None


def is_file_name(choice: object) -> bool:
    """Return whether a choice of the group `experiment` is the path of a YAML file."""
    return str(choice).endswith((".yaml", ".yml"))


def samples(sweeps: Mapping[str, Sequence[str]]) -> Iterator[dict[str, str]]:
    """Yield settings that together contain every value of every sweep: {key: value}.

    The first has the first value of each; the others differ from it in one.
    """
    first = {key: values[0] for key, values in sweeps.items()}
    yield first
    for key, values in sweeps.items():
        for value in itertools.islice(values, 1, _TRIED):
            yield first | {key: value}
