"""Turn a composed configuration into a `Config`, or report everything that is wrong with it.

Each problem is one line: key, value, what is expected. What a value may be is declared in the schema;
`conflicts.py` knows which settings cannot stand together. No torch here.
"""

import typing
from collections.abc import Collection, Mapping
from typing import Any

from imclass.config.conflicts import conflicts
from imclass.config.schema import GROUPS, SETTINGS, SWEEP_SETTINGS, Config, SweepConfig
from imclass.config.setting import Setting, brief
from imclass.errors import ConfigError, did_you_mean


def check_config(
    composed: Mapping[str, Any], *, to_train: bool = True, typed: Collection[str] = SETTINGS
) -> Config:
    """Return the typed configuration, or raise ConfigError with all problems of `composed`.

    composed: nested plain containers, interpolations resolved; missing keys take their defaults. to_train:
    look for conflicts too, and for files or a GPU that are missing here; a finished run needs neither. typed:
    the keys that may be refused for having no effect.
    """
    problems: list[str] = []
    config = _built(Config, composed, "", SETTINGS, problems)
    if not problems and to_train:
        problems += conflicts(config, typed)
    if problems:
        raise ConfigError(problems)
    return config


def check_sweep(settings: Mapping[str, Any]) -> tuple[SweepConfig, list[str]]:
    """Return the section `sweep` as its type, and all problems of `settings`: {'trials': 20, ...}."""
    problems: list[str] = []
    return _built(SweepConfig, settings, "sweep.", SWEEP_SETTINGS, problems), problems


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return {'train.epochs': 5, ...} of a nested mapping; lists are leaves."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def unknown_key(key: str) -> str:
    """Return the problem line of a key that the schema does not have."""
    section, _, last = key.rpartition(".")
    known = SWEEP_SETTINGS if key.split(".")[0] == "sweep" else SETTINGS
    called = [k for k, s in known.items() if last in (k.rsplit(".", 1)[-1], *s.also_called)]
    if nearest := [k for k in called if k.rpartition(".")[0] == section] or called:
        return f"{key}: no such setting; did you mean {' or '.join(map(repr, nearest[:2]))}?"
    return f"{key}: no such setting{did_you_mean(key, known if section else [*known, *GROUPS])}"


def _dotted(key: str) -> str:
    """Return the problem line of a setting whose section is part of its name, as on the command line."""
    section, _, last = key.rpartition(".")
    return f"{key}: in YAML, settings stand below their section: {section}: {{{last}: ...}}"


def _built(
    cls: type, tree: Mapping[str, Any], prefix: str, settings: Mapping[str, Setting], problems: list[str]
) -> Any:
    """Construct `cls` from `tree`; a faulty value is added to `problems` and left at its default."""
    hints = typing.get_type_hints(cls)
    made = {}
    for name, value in tree.items():
        key, problem = f"{prefix}{name}", ""
        if name not in hints:
            problem = _dotted(key) if "." in str(name) and key in settings else unknown_key(key)
        elif key in settings:
            value, problem = settings[key].check(value)
        elif isinstance(value, Mapping):
            value = _built(typing.cast(type, hints[name]), value, f"{key}.", settings, problems)
        else:
            problem = f"{key}={brief(value)}: expected settings of the section {key}"
        if problem:
            problems.append(problem)
        else:
            made[name] = value
    return cls(**made)
