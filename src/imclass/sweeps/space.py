"""The search space: Hydra's sweep grammar as Optuna's distributions. No torch here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imclass.config.overrides import key_of, override_problem, parse, sweep_values
from imclass.config.schema import SETTINGS

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_GRAMMAR = "choice(a,b), range(from,to,step), interval(from,to) or tag(log,interval(from,to))"
FORBIDDEN = ("name", "output_dir", "resume", "debug")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One key and its domain: either `values`, or the numbers from `low` to `high`."""

    key: str
    expression: str  # as typed
    values: tuple[str, ...] = ()  # as the user types them
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0  # of a range(); 0: an interval, or categories
    whole: bool = False
    log: bool = False

    @property
    def is_interval(self) -> bool:
        return not self.values

    @property
    def is_number(self) -> bool:
        return self.is_interval or self.step > 0

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if not self.is_number:
            return CategoricalDistribution(self.values)
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step) or 1)
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step or None)

    def value(self, text: str) -> Any:
        """Return one of `values` as Optuna stores it."""
        return text if not self.step else int(text) if self.whole else float(text)

    def text(self, value: Any) -> str:
        """Return a drawn value as the trial gets it: a number with six digits, within the interval."""
        if self.step:
            return f"{value:.12g}"
        if self.values or self.whole:
            return str(value)
        short = f"{value:.6g}"
        return short if self.low <= float(short) <= self.high else repr(value)


def read_space(
    expressions: Mapping[str, str], config_dirs: Sequence[Path]
) -> tuple[dict[str, Parameter], list[str]]:
    """Return the parameters of {key: expression}, and a line for each faulty expression."""
    space: dict[str, Parameter] = {}
    problems: list[str] = []
    for key, expression in expressions.items():
        problem = _problem(key, f"{key}={expression}", config_dirs)
        if problem is None:
            space[key] = _parameter(key, expression, config_dirs)
        else:
            problems.append(problem)
    return space, problems


def stored_space(expressions: Mapping[str, str]) -> dict[str, Parameter]:
    """Return the parameters of {key: expression}, which `read_space` has checked before."""
    return {key: _parameter(key, expression, ()) for key, expression in expressions.items()}


def _problem(key: str, text: str, config_dirs: Sequence[Path]) -> str | None:
    override = parse(text)
    if override is None or not override.is_sweep_override():
        return f"{text}: expected {_GRAMMAR}"
    if key in FORBIDDEN or key.startswith("hydra"):
        return f"{key}: cannot be searched; each trial has its own"
    if getattr(override.value(), "shuffle", False):
        return f"{text}: shuffle() has another order each time; leave it out"
    if override.is_interval_sweep():
        interval = override.value()
        if not interval.start < interval.end:
            return f"{text}: expected the lower end first"
        if unknown := sorted(interval.tags - {"log"}):
            return f"{text}: the tag {unknown[0]} has no meaning here; expected log"
        if "log" in interval.tags and interval.start <= 0:
            return f"{text}: a logarithmic interval starts above 0"
        if not isinstance(interval.start, int) and key in SETTINGS and SETTINGS[key].is_whole_number:
            return f"{text}: {key} is a whole number; write int(interval(...))"
    elif len(set(values := sweep_values(override, config_dirs))) < len(values):
        return f"{text}: holds a value twice"
    return override_problem(text, config_dirs)


def _parameter(key: str, expression: str, config_dirs: Sequence[Path]) -> Parameter:
    override = parse(f"{key}={expression}")
    if not override.is_interval_sweep():
        values = tuple(sweep_values(override, config_dirs))
        if hasattr(override.value(), "filter"):  # glob(): the group may grow
            expression = f"choice({','.join(values)})"
        if not override.is_range_sweep() or override.value().step < 0 or len(values) < 2:
            return Parameter(key, expression, values)
        step = override.value().step
        return Parameter(
            key,
            expression,
            values,
            low=float(values[0]),
            high=float(values[-1]),
            step=step,
            whole=all(isinstance(x, int) for x in (override.value().start, step)),
        )
    interval = override.value()
    return Parameter(
        key,
        expression,
        low=interval.start,
        high=interval.end,
        whole=isinstance(interval.start, int),
        log="log" in interval.tags,
    )


def settings_of(params: Mapping[str, Any], space: Mapping[str, Parameter]) -> list[str]:
    """Return a trial's parameters as overrides, groups first."""
    texts = [f"{key}={space[key].text(value)}" for key, value in params.items()]
    return sorted(texts, key=lambda text: "." in key_of(text))
