"""Turn a composed configuration into a `Config`, or report everything that is wrong with it.

Types come from the dataclasses, ranges and choices from `rules.py`, contradictions between settings
from `contradictions.py`. Each problem is one line: key, value, what is allowed. No torch here.
"""

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from imclass.config.conflicts import contradictions
from imclass.config.durations import parse_duration
from imclass.config.rules import DURATIONS, MAY_BE_ZERO, REQUIRED, RULES
from imclass.config.schema import Config, SweepConfig
from imclass.errors import ConfigError, did_you_mean

_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", list: "a list"}
_TYPE_NAMES[dict] = "a mapping"


def check_config(composed: Mapping[str, Any], *, to_train: bool = True) -> Config:
    """Return the typed configuration, or raise ConfigError with all problems of `composed`.

    composed: nested plain containers, interpolations resolved; missing keys take their defaults. to_train:
    look for contradictions too, and for files or a GPU that are missing here; a finished run needs neither.
    """
    problems: list[str] = []
    config = _built(Config, composed, "", problems)
    if not problems and to_train:
        problems += contradictions(config)
    if problems:
        raise ConfigError(problems)
    return config


def check_sweep(settings: Mapping[str, Any]) -> tuple[SweepConfig, list[str]]:
    """Return the section `sweep` as its type, and all problems of `settings`: {'trials': 20, ...}."""
    problems: list[str] = []
    return _built(SweepConfig, settings, "sweep.", problems), problems


def all_keys() -> list[str]:
    """Return every key of the schema, dotted."""
    return list(flatten(dataclasses.asdict(Config())))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return {'train.epochs': 5, ...} of a nested mapping; lists are leaves."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def unknown_key(key: str) -> str:
    """Return the problem line of a key that the schema does not have."""
    known = all_keys()
    if key.split(".")[0] == "sweep":
        known = [f"sweep.{field.name}" for field in dataclasses.fields(SweepConfig)]
    last = key.rsplit(".", 1)[-1]
    same_ending = [k for k in known if k.rsplit(".", 1)[-1] == last]
    if same_ending:
        return f"{key}: no such setting; did you mean {' or '.join(map(repr, same_ending[:2]))}?"
    return f"{key}: no such setting{did_you_mean(key, known if '.' in key else [*known, *sections()])}"


def sections() -> list[str]:
    """Return the names of the config's sections and groups."""
    nested = [f.name for f in dataclasses.fields(Config) if dataclasses.is_dataclass(f.type)]
    return [*nested, "experiment"]


def value_problem(key: str, value: object) -> str | None:
    """Return what is wrong with one value, or None; `key` must be in the schema."""
    owner: Any = Config
    for part in key.split("."):
        hint = typing.get_type_hints(owner)[part]
        owner = hint
    problems: list[str] = []
    value = _typed(hint, value, key, problems)
    return next(iter(problems or _value_problems(key, value)), None)


def _built(cls: type, tree: Mapping[str, Any], prefix: str, problems: list[str]) -> Any:
    """Construct `cls` from `tree`; add what is wrong with types and values to `problems`."""
    made = _build(cls, tree, prefix, problems)
    faulty = {problem.split("=")[0].split(":")[0] for problem in problems}
    values = {f"{prefix}{key}": value for key, value in flatten(dataclasses.asdict(made)).items()}
    problems += [p for key in values if key not in faulty for p in _value_problems(key, values[key])]
    return made


def _build(cls: type, tree: Mapping[str, Any], prefix: str, problems: list[str]) -> Any:
    """Construct the dataclass `cls` from `tree`; a faulty value is reported and left at its default."""
    hints = typing.get_type_hints(cls)
    made = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if key not in hints:
            problems.append(unknown_key(name))
        elif dataclasses.is_dataclass(hints[key]):
            if isinstance(value, Mapping):
                made[key] = _build(typing.cast(type, hints[key]), value, f"{name}.", problems)
            else:
                problems.append(f"{name}={value}: expected settings of the section {name}")
        else:
            before = len(problems)
            typed = _typed(hints[key], value, name, problems)
            if len(problems) == before:
                made[key] = typed
    return cls(**made)


def _typed(hint: Any, value: Any, key: str, problems: list[str]) -> Any:
    """Return `value` as the type of its field; whole numbers pass as floats, text never as a number."""
    if hint is Any:
        return value
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    (kind,) = (option for option in options if option is not type(None))
    base = typing.get_origin(kind) or kind
    if base is list and isinstance(value, list):
        (item,) = typing.get_args(kind)
        return [_typed(item, v, key, problems) for v in value]
    if base is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if base is str and isinstance(value, int) and not isinstance(value, bool):  # name=1
        return str(value)
    if isinstance(value, base) and not (base is int and isinstance(value, bool)):
        return value
    problems.append(f"{key}={show(value)}: expected {RULES[key][1] if key in RULES else _TYPE_NAMES[base]}")
    return value


def _value_problems(key: str, value: object) -> Iterator[str]:
    if value is None:
        if key in REQUIRED:
            yield f"{key}=null: expected {RULES[key][1] if key in RULES else 'a duration'}"
    elif key in DURATIONS:
        for item in value if isinstance(value, list) else [value]:
            yield from _duration_problems(key, item)
    elif key in RULES and not RULES[key][0](value):
        near = did_you_mean(value, RULES[key][1].replace(",", "").split()) if isinstance(value, str) else ""
        yield f"{key}={show(value)}: expected {RULES[key][1]}{near}"


def _duration_problems(key: str, value: object) -> Iterator[str]:
    try:
        duration = parse_duration(value, DURATIONS[key])
    except ValueError as error:
        yield f"{key}={show(value)}: {error}"
        return
    if duration.value == 0 and key not in MAY_BE_ZERO:
        yield f"{key}={show(value)}: expected a duration above 0"


def show(value: object) -> str:
    """Return a value as the user would type it, control characters escaped."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool) or value is None:
        return str(value).lower().replace("none", "null")
    return value if isinstance(value, str) and value.isprintable() and value else repr(value)
