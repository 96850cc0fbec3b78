"""Durations with a unit, as users write them: `1ep`, `500st`, `10min`; for schedules also `10%`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_PATTERN = re.compile(r"\s*(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*(ep|st|s|min|h|%)?\s*")
UNITS = {
    "ep": "1ep (epochs)",
    "st": "500st (steps)",
    "s": "90s, 10min or 2h",
    "%": "10% (of the whole training)",
}


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of training: in epochs (`ep`), steps (`st`), seconds (`s`) or percent of it (`%`)."""

    value: float
    unit: str

    def steps(self, steps_per_epoch: int, total_steps: int = 0) -> int:
        """Return the number of optimizer steps, rounded. Seconds are not a number of steps."""
        assert self.unit != "s", self
        per_unit = {"ep": steps_per_epoch, "st": 1, "%": total_steps / 100}[self.unit]
        return round(self.value * per_unit)


def parse_duration(text: object, units: Iterable[str] = UNITS) -> Duration:
    """Read `text`, which must be in one of `units`, or 0. Raises ValueError naming the units."""
    match = None if isinstance(text, bool) else _PATTERN.fullmatch(str(text))
    if match and match[2]:
        value, unit = float(match[1]), match[2]
        duration = Duration(value * _SECONDS[unit], "s") if unit in _SECONDS else Duration(value, unit)
        if duration.unit in units:
            return duration
    elif match and float(match[1]) == 0:
        return Duration(0, "st")
    raise ValueError(f"expected {expected_duration(units)}")


def expected_duration(units: Iterable[str]) -> str:
    return "a duration such as " + " or ".join(UNITS[unit] for unit in units)


def clock(seconds: float) -> str:
    """Return a time as people say it: '1 h 2 min', '3 min 4 s', or '5 s' (at least 1)."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if not hours and not minutes:
        return f"{max(1, rest)} s"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
