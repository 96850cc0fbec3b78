"""Turn a composed configuration into a `Config`, or report everything that is wrong with it.

Types come from the dataclasses, ranges and choices from the tables below, contradictions between
settings from `contradictions.py`. Each problem is one line: key, value, what is allowed. No torch here.
"""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from imclass.config import Config
from imclass.contradictions import contradictions
from imclass.durations import parse_duration
from imclass.errors import ConfigError, did_you_mean

RUN_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,100}")
Rule = tuple[Callable[[Any], bool], str]


def _number(
    low: float, high: float = math.inf, *, above: bool = False, below: bool = False, what: str = "a number"
) -> Rule:
    """Accept numbers from `low` to `high`; `above` and `below` leave the ends out."""

    def accepts(x: object) -> bool:
        if isinstance(x, bool) or not isinstance(x, int | float) or not math.isfinite(x):
            return False
        return (x > low if above else x >= low) and (x < high if below else x <= high)

    start = f"above {low:g}" if above else f"of at least {low:g}"
    end = "" if high == math.inf else f" and {'below' if below else 'at most'} {high:g}"
    return accepts, f"{what} {start}{end}"


def _one_of(*choices: object) -> Rule:
    shown = ", ".join(str(c).lower() if isinstance(c, bool) else str(c) for c in choices)
    return (lambda x: any(x is c or (isinstance(x, str) and x == c) for c in choices)), f"one of {shown}"


def _auto_or_count(x: object) -> bool:
    return x == "auto" or (isinstance(x, int) and not isinstance(x, bool) and x >= 1)


def _is_val_split(x: object) -> bool:
    if isinstance(x, bool):
        return False
    if isinstance(x, float):
        return 0 < x < 1
    if isinstance(x, int):
        return x >= 1
    return x == "test" or (isinstance(x, list) and bool(x) and all(isinstance(p, str) for p in x))


def _all_in(rule: Rule, what: str) -> Rule:
    return (lambda xs: bool(xs) and all(rule[0](x) for x in xs)), what


_POSITIVE = _number(0, above=True)
_FRACTION = _number(0, 1)
_COUNT = _number(1, what="a whole number")
_AUTO_FLAG = _one_of(True, False, "auto")
_AUTO_COUNT: Rule = (_auto_or_count, "a whole number of at least 1, or auto")

RULES: dict[str, Rule] = {
    "model.stem": _one_of("auto", "cifar", "imagenet"),
    "model.dropout": _number(0, 1, below=True),
    "dataset.val_split": (
        _is_val_split,
        "a fraction between 0 and 1, a count, test, or a list of file patterns",
    ),
    "dataset.test_split": _number(0, 1, above=True, below=True),
    "dataset.fraction": _number(0, 1, above=True),
    "dataset.resize": _number(8, 4096, what="a whole number"),
    "dataset.mean": _all_in(_FRACTION, "a list of numbers from 0 to 1, one per channel"),
    "dataset.std": _all_in(
        _number(0, 1, above=True), "a list of numbers above 0 and at most 1, one per channel"
    ),
    "dataset.synthetic.shape": (
        lambda xs: len(xs) == 3 and all(x >= 1 for x in xs) and min(xs[1:]) >= 8,
        "[channels, height, width] with sides of at least 8",
    ),
    "dataset.synthetic.classes": _number(2, what="a whole number"),
    "dataset.synthetic.train": _COUNT,
    "dataset.synthetic.test": _COUNT,
    "augment.crop": _number(0, 64),
    "augment.cutout": _number(0),
    "augment.random_erasing": _FRACTION,
    "augment.randaugment": _number(0, 16),
    "augment.magnitude": _number(0, 30),
    "augment.mixup": _number(0),
    "augment.cutmix": _number(0),
    "optimizer.lr": _POSITIVE,
    "optimizer.adamw_lr": _POSITIVE,
    "optimizer.weight_decay": _number(0),
    "optimizer.momentum": _number(0, 1, below=True),
    "optimizer.betas": (
        lambda xs: len(xs) == 2 and all(0 <= x < 1 for x in xs),
        "two numbers of at least 0 and below 1",
    ),
    "optimizer.eps": _POSITIVE,
    "optimizer.alpha": _number(0, 1, below=True),
    "scheduler.final": _FRACTION,
    "scheduler.gamma": _number(0, 1, above=True),
    "scheduler.patience": _COUNT,
    "device.type": (
        lambda x: re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", x) is not None,
        "one of auto, cpu, cuda, cuda:N, mps",
    ),
    "device.precision": _one_of("auto", "fp32", "bf16", "fp16"),
    "device.channels_last": _AUTO_FLAG,
    "device.compile": _AUTO_FLAG,
    "device.threads": _AUTO_COUNT,
    "device.micro_batch": _AUTO_COUNT,
    "train.epochs": _POSITIVE,
    "train.steps": _COUNT,
    "train.batch_size": _COUNT,
    "train.label_smoothing": _number(0, 1, below=True),
    "train.grad_clip": _POSITIVE,
    "train.ema": _number(0, 1, above=True, below=True),
    "train.early_stopping": _COUNT,
    "checkpoint.metric": _one_of("accuracy", "loss"),
    "seed": _number(0, 2**32 - 1, what="a whole number"),
    "name": (
        lambda x: RUN_NAME.fullmatch(x) is not None,
        "1 to 100 letters, digits, dots, dashes and underscores, no leading dot",
    ),
    "output_dir": (bool, "a folder"),
    "resume": (bool, "auto, never, or a run folder"),
}
DURATIONS: dict[str, tuple[str, ...]] = {
    "scheduler.warmup": ("ep", "st", "%"),
    "scheduler.step_size": ("ep", "st", "%"),
    "scheduler.milestones": ("ep", "st", "%"),
    "train.eval_every": ("ep", "st"),
    "train.log_every": ("ep", "st"),
    "train.max_time": ("s",),
    "checkpoint.every": ("ep", "st", "s"),
}
_MAY_BE_ZERO = {"scheduler.warmup"}
_REQUIRED = {"dataset.val_split"} | set(DURATIONS) - {
    "scheduler.step_size",
    "scheduler.milestones",
    "train.max_time",
}
_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", list: "a list"}


def check_config(composed: Mapping[str, Any]) -> Config:
    """Return the typed configuration, or raise ConfigError with all problems of `composed`.

    composed: nested plain containers, interpolations resolved; missing keys take their defaults.
    """
    problems: list[str] = []
    config = _build(Config, composed, "", problems)
    faulty = {problem.split("=")[0].split(":")[0] for problem in problems}
    values = flatten(dataclasses.asdict(config))
    problems += [p for key in values if key not in faulty for p in _value_problems(key, values[key])]
    if not problems:
        problems += contradictions(config)
    if problems:
        raise ConfigError(problems)
    return config


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
        if key in _REQUIRED:
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
    if duration.value == 0 and key not in _MAY_BE_ZERO:
        yield f"{key}={show(value)}: expected a duration above 0"


def show(value: object) -> str:
    """Return a value as the user would type it, control characters escaped."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool) or value is None:
        return str(value).lower().replace("none", "null")
    return value if isinstance(value, str) and value.isprintable() and value else repr(value)
