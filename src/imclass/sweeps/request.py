"""What a sweep is to do: from its YAML file and the command line to checked settings."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imclass.config.check import check_sweep
from imclass.config.compose import compose_samples
from imclass.config.conflicts import train_images
from imclass.config.groups import config_dir, group_choices
from imclass.config.invocation import Invocation
from imclass.config.metric import ACCURACY, METRICS, Metric
from imclass.config.overrides import is_sweep, key_of, override_problem, parse
from imclass.config.plan import Plan
from imclass.config.run_names import user_path
from imclass.config.schema import Config, SweepConfig, affects_results, values_of
from imclass.config.urls import without_password
from imclass.config.yaml_file import read_yaml
from imclass.errors import ConfigError, UserError, did_you_mean
from imclass.sweeps.space import FORBIDDEN, Parameter, read_space

DEFAULT_TRIALS = 20
JOURNAL, SQLITE = "journal", "sqlite:///"  # sweep.storage
CLAIMS = "claims.lock"  # held while a sweep is begun, and while a trial is created or taken
FIXED = ("space", "settings", "sampler", "pruner", "metric", "seed")  # what a study depends on


@dataclass(frozen=True, slots=True)
class Request:
    """A checked sweep: its settings, its search space, and what all trials share."""

    config: SweepConfig
    name: str
    folder: Path  # <output_dir>/sweeps/<name>
    space: Mapping[str, Parameter]
    overrides: tuple[str, ...]  # of every trial
    config_dirs: tuple[Path, ...]
    base: Config  # the configuration of one of the trials
    evaluations: int | None  # the most that a trial has; None: not known before the data are read
    command: str  # as typed

    @property
    def metric(self) -> Metric:
        return METRICS[self.config.metric.removeprefix("val.")]

    @property
    def storage(self) -> str:
        """Return where trials are recorded; a SQLite file by its absolute path, for whoever reports later."""
        file = self.config.storage.removeprefix(SQLITE)
        if file == self.config.storage:
            return file
        return f"{SQLITE}{user_path(file).absolute()}"

    @property
    def trials(self) -> int:
        """Return the number of configurations to try."""
        if self.config.sampler != "grid":
            return self.config.trials or DEFAULT_TRIALS
        size = math.prod(len(parameter.values) for parameter in self.space.values())
        return min(self.config.trials or size, size)

    @property
    def flags(self) -> list[str]:
        return [f"--config-dir={folder.absolute()}" for folder in self.config_dirs]

    @property
    def fixed(self) -> dict[str, Any]:
        """Return what must not change under one name, as it is stored in sweep.yaml."""
        space = {key: parameter.expression for key, parameter in self.space.items()}
        parts = {"space": space, "settings": self._shared}
        return parts | {key: getattr(self.config, key) for key in FIXED if key not in parts}

    @property
    def _shared(self) -> dict[str, Any]:
        """Return the settings shared by all trials that can change a run's figures."""
        own = (*self.space, *(f"{key}." for key in self.space))
        shared = values_of(self.base).items()
        return {k: v for k, v in shared if affects_results(k) and not k.startswith(own)}


def read_request(invocation: Invocation) -> Request:
    """Parse and check `imclass sweep ARGV`. Raises ConfigError with all problems, or UserError."""
    typed, config_dirs = invocation.overrides, invocation.config_dirs
    if unknown := [name for name, _ in invocation.options if name != "--config-dir"]:
        raise UserError(f"{unknown[0]}: not an option of imclass sweep; see imclass sweep --help")
    choice, settings, overrides, expressions, problems = _sorted(typed, config_dirs)
    config, faulty = check_sweep(settings)
    problems += faulty
    space, faulty = read_space(expressions, config_dirs)
    problems += faulty
    name = config.name or choice
    if name is None:
        problems.append("sweep: choose one (imclass list sweeps), or name your own with sweep.name=NAME")
    if not expressions and not problems:
        problems.append("nothing to search; add for instance optimizer.lr='tag(log,interval(1e-3,1))'")
    metric = config.metric.removeprefix("val.")
    if metric != ACCURACY.name and "checkpoint.metric" not in {*expressions, *map(key_of, overrides)}:
        overrides.append(f"checkpoint.metric={metric}")
    configs, faulty = compose_samples(overrides, {key: _texts(p) for key, p in space.items()}, config_dirs)
    problems += [*faulty, *_contradictions(config, space)]
    if problems or not configs:
        raise ConfigError(list(dict.fromkeys(map(without_password, problems))))
    return Request(
        config=config,
        name=str(name),
        folder=Path(configs[0].output_dir) / "sweeps" / str(name),
        space=space,
        overrides=tuple(text for text in overrides if key_of(text) not in FORBIDDEN),
        config_dirs=tuple(config_dirs),
        base=configs[0],
        evaluations=_most_evaluations(configs),
        command=shlex.join(["imclass", "sweep", *map(without_password, invocation.words)]),
    )


def _sorted(
    typed: Sequence[str], config_dirs: Sequence[Path]
) -> tuple[str | None, dict[str, Any], list[str], dict[str, str], list[str]]:
    """Return the choice, the settings of the sweep, plain overrides, the search space, and problems.

    What is typed replaces the entry of the choice's file with the same key.
    """
    problems = [f"{key}: given twice; keep one" for key in _twice(list(map(key_of, typed)))]
    choice = next((text.partition("=")[2] for text in typed if key_of(text) == "sweep"), None)
    settings = _settings_of(choice, config_dirs) if choice is not None else {}
    plain = {key_of(text): text for text in settings.pop("overrides", None) or []}
    expressions = {key: str(value) for key, value in (settings.pop("space", None) or {}).items()}
    for text in typed:
        key = key_of(text)
        if key in ("sweep.space", "sweep.overrides"):
            problems.append(f"{key}: type its entries as overrides, without {key}=")
        elif key.startswith("sweep."):
            plain_value = parse(text) if not is_sweep(text) else None
            value = plain_value.value() if plain_value else text.partition("=")[2]
            settings[key.removeprefix("sweep.")] = value
        elif key != "sweep":
            plain.pop(key, None)
            expressions.pop(key, None)
            if is_sweep(text) and text.startswith(key):
                expressions[key] = text.partition("=")[2]
            else:
                plain[key] = text
    found = {k: _not_shared(k, text) or override_problem(text, config_dirs) for k, text in plain.items()}
    problems += [problem for problem in found.values() if problem is not None]
    good = [text for key, text in plain.items() if found[key] is None]
    return choice, settings, good, expressions, problems


def _not_shared(key: str, text: str) -> str | None:
    """Return why the trials of a sweep cannot share an override, or None."""
    if text.startswith(("+", "~")):
        return f"{text}: not in a sweep, where all settings exist; write key=value"
    if key.startswith("hydra"):
        return f"{key}: not for a sweep, which starts its trials itself; see imclass sweep --help"
    if key == "train.smoke":
        return f"{key}: not for a sweep; smoke-test one of its trainings, with imclass train"
    if key == "resume":
        return "resume: each trial resumes by itself; to resume the sweep, repeat its command"
    return f"{key}: each trial has its own; sweep.name= names the sweep" if key == "name" else None


def _settings_of(choice: str, config_dirs: Sequence[Path]) -> dict[str, Any]:
    """Return the settings in the YAML file of a choice of the group `sweep`."""
    files = [folder / "sweep" / f"{choice}.yaml" for folder in (*config_dirs, config_dir())]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        known = group_choices("sweep", *config_dirs)
        raise UserError(
            f"sweep={choice}: no such choice among {', '.join(known)}{did_you_mean(choice, known)}"
        )
    content = read_yaml(file)
    entries = content.get("overrides") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(content.get("space") or {}, dict):
        raise UserError(f"{file}: expected settings of a sweep, with a mapping under space:")
    if not isinstance(entries or [], list) or not all(isinstance(x, str) and "=" in x for x in entries or []):
        raise UserError(f"{file}: expected a list of key=value under overrides:")
    return content


def _twice(keys: Sequence[str]) -> list[str]:
    return [key for number, key in enumerate(keys) if key in keys[:number]]


def _texts(parameter: Parameter) -> list[str]:
    """Return values to check a parameter beside the others with: all of them, or an interval's ends."""
    ends = (int(parameter.low), int(parameter.high)) if parameter.whole else (parameter.low, parameter.high)
    return list(parameter.values) or [repr(end) for end in ends]


def _contradictions(config: SweepConfig, space: Mapping[str, Parameter]) -> list[str]:
    problems = []
    intervals = [key for key, parameter in space.items() if parameter.is_interval]
    if config.sampler == "grid" and intervals:
        problems.append(f"sweep.sampler=grid: {intervals[0]} is an interval; use choice() or range()")
    numeric = [key for key, parameter in space.items() if parameter.is_number]
    if config.sampler == "cmaes" and len(numeric) < 2:
        problems.append("sweep.sampler=cmaes: needs two interval() or range() at least; use tpe")
    if config.seeds and "seed" in space:
        problems.append("sweep.seeds: the seed is searched already; leave out one of the two")
    return problems


def _most_evaluations(configs: Sequence[Config]) -> int | None:
    """Return how often a trial evaluates at most; None if that is not known before the data are read."""
    counts = []
    for config in configs:
        images = train_images(config)
        if images is None or config.train.budget is not None:
            return None
        counts.append(Plan.of(config, max(1, images // config.train.batch_size)).evaluations)
    return max(counts)
