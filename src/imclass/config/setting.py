"""What one field of the schema declares: type, default, meaning, limits, and what depends on it.

The checks, the nearest names, `--help`, what may differ on resume and what a comparison ignores all
come from here. No torch.
"""

import contextlib
import math
import re
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin

from imclass.config.durations import expected_duration, parse_duration
from imclass.errors import did_you_mean

_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_TYPE_NAMES |= {list: "a list", dict: "a mapping"}


def setting(default: Any, meaning: str, **declared: Any) -> Any:
    """Return the dataclass field of a setting; `declared` are fields of `Setting`."""
    metadata = {"meaning": meaning, **declared}
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting. Limits apply to a number, or to each number of a list."""

    key: str  # dotted, as the user types it
    type: Any  # int, float | None, Literal["a", "b"], list[float], ...
    default: Any
    meaning: str  # for --help, in a phrase
    at_least: float = -math.inf
    above: float = -math.inf
    at_most: float = math.inf
    below: float = math.inf
    length: int | None = None  # of a list
    pattern: str = ".*"  # of a text
    unit: tuple[str, ...] = ()  # of a duration: keys of durations.UNITS
    zero: bool = False  # a duration may be 0
    accepts: Callable[[Any], bool] = lambda value: True  # what the limits above cannot say
    allowed: str = ""  # what is accepted, in words, where type and limits do not say it well
    only_with: tuple[str, ...] = ()  # the choices of its group that read it; all, if empty
    optional: bool = False  # null is also fine with the choices of `only_with`
    needs: str = ""  # the setting without which it has no effect
    overridden_by: tuple[str, ...] = ()  # the settings with any of which it has none
    affects_results: bool = True  # false: the figures of a run do not depend on it
    free_on_resume: bool = False  # a resumed run may have another value
    lengthens: bool = False  # a resumed run may have a larger value, to train longer
    compared: bool = True  # false: runs that differ in it alone are repeats of one configuration
    also_called: tuple[str, ...] = ()  # names from other tools

    @property
    def options(self) -> tuple[Any, ...]:
        """The types that a value may have."""
        return _options(self.type)

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that the type lists."""
        return sum((get_args(kind) for kind in self.options if get_origin(kind) is Literal), ())

    @property
    def is_whole_number(self) -> bool:
        return int in self.options and float not in self.options

    @property
    def expected(self) -> str:
        """What is accepted, in words."""
        if self.allowed:
            return self.allowed
        if self.unit:
            return expected_duration(self.unit)
        kind = self.options[0]
        if get_origin(kind) is Literal:
            return f"one of {', '.join(self.choices)}"
        if kind is bool and self.choices:
            return f"one of true, false, {', '.join(self.choices)}"
        if kind == list[float]:
            count = f"{self.length} " if self.length else ""
            return f"a list of {count}numbers{self._limits}"
        return ", or ".join([_TYPE_NAMES[get_origin(kind) or kind] + self._limits, *self.choices])

    @property
    def _limits(self) -> str:
        start = f" above {self.above:g}" if self.above > -math.inf else ""
        start = f" of at least {self.at_least:.12g}" if self.at_least > -math.inf else start
        end = f" and below {self.below:g}" if self.below < math.inf else ""
        return start + (f" and at most {self.at_most:.12g}" if self.at_most < math.inf else end)

    def check(self, value: Any, typed: str = "") -> tuple[Any, str]:
        """Return `value` converted to the setting's type, and the problem with it, "" if none.

        typed: what `value` was read from, for the message where it has to be quoted: 1e3, not 1000.
        """
        try:
            converted = _converted(self.type, value)
            sound = converted is None or self._is_allowed(converted)
        except (TypeError, OverflowError):  # a whole number too large for a float
            return value, self._problem(value, typed)
        return converted, "" if sound else self._problem(value, typed)

    def _is_allowed(self, value: Any) -> bool:
        items = value if isinstance(value, list) else [value]
        enough = len(items) == self.length if self.length else bool(items) or self.default == []
        return enough and all(map(self._is_within, items)) and self.accepts(value)

    def _is_within(self, value: Any) -> bool:
        if self.unit:
            return self._is_duration(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            inside = self.at_least <= value <= self.at_most and self.above < value < self.below
            return inside and math.isfinite(value)
        return not isinstance(value, str) or re.fullmatch(self.pattern, value, re.DOTALL) is not None

    def _is_duration(self, value: Any) -> bool:
        try:
            return parse_duration(value, self.unit).value > 0 or self.zero
        except ValueError:
            return False

    def _problem(self, value: Any, typed: str) -> str:
        shown, expected = f"{self.key}={brief(value)}", self.expected
        if self.options[0] is str and not self.unit and isinstance(value, bool | float):
            word = typed or show(value)
            return f"{self.key}={word}: expected text; put it in quotes: \"{self.key}='{word}'\""
        with contextlib.suppress(ValueError):
            expected = "a duration above 0" if self.unit and parse_duration(value, self.unit) else expected
        words = self.choices or self.allowed.removeprefix("one of ").split(", ")
        near = did_you_mean(value, words) if isinstance(value, str) else ""
        return f"{shown}: expected {expected}{near}"


def _options(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _converted(kind: Any, value: Any) -> Any:
    """Return `value` as `kind`; whole numbers pass as floats and as text. Raises TypeError."""
    options = _options(kind)
    for option in options:
        if get_origin(option) is Literal:
            if isinstance(value, str) and value in get_args(option):
                return value
        elif type(value) is (get_origin(option) or option) and type(value) is not list:
            return value
    for option in options:
        if get_origin(option) is list and isinstance(value, list):
            (item,) = get_args(option)
            return [_converted(item, entry) for entry in value]
        if option in (float, str) and type(value) is int:
            return option(value)
    raise TypeError(value)


def show(value: object) -> str:
    """Return a value as the user would type it, control characters escaped."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool) or value is None:
        return str(value).lower().replace("none", "null")
    return value if isinstance(value, str) and value.isprintable() and value else repr(value)


def brief(value: object) -> str:
    """Return what `show` does, cut where it is too long for a message."""
    text = show(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
