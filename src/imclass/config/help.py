"""The text of `imclass train --help` and `imclass sweep --help`, made from the schema and the YAML files."""

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from imclass.config.check import flatten
from imclass.config.groups import config_dir, described_choices
from imclass.config.schema import SECTIONS, SETTINGS, SWEEP_SETTINGS
from imclass.config.setting import Setting, show
from imclass.config.yaml_file import read_yaml

WIDTH = 80
_NO_BREAK = "\u00a0"
TRAIN = """\
imclass {command} [FOLDER] [group=choice ...] [key=value ...] [-m]

{does}

  imclass {command} my_pictures dataset.resize=64 name=mine
  imclass {command} model=vgg11 dataset=cifar10 optimizer=adamw train.epochs=20
  imclass {command} -m name=rates optimizer.lr=0.1,0.01 seed=0,1

  -m, --multirun       one run for each combination of values: key=a,b
  --cfg job            print the composed configuration and stop
  --config-dir FOLDER  add groups and experiments of your own
  resume=RUN           resume a run; its settings need not be repeated

FOLDER, or --data FOLDER, has a folder of pictures for each class, or such
folders below train/, val/ and test/, or is a table of files and labels,
FILE.csv; it stands for dataset=image_folder dataset.root=FOLDER.
Durations have a unit: 2ep (epochs), 500st (steps), 90s, 10min, 2h; in schedules
also 10% (of the training). Only train.epochs and train.steps have none.
"""
DOES = {
    "train": "Train a model into outputs/<name>. The same command resumes a stopped run.",
    "plan": "Measure some steps; print what a training would do and take, and draw its page.",
    "lr-find": "Train some steps at rising learning rates; draw the losses, suggest a rate.",
    "check": "Find every mistake in a training or a sweep, touch nothing; exit with 0 or 2.",
}
SWEEP = """\
imclass sweep [FOLDER] sweep=NAME [sweep.KEY=VALUE ...] [key=SPACE ...] [...]

Search hyperparameters: many trainings, each in its own process, on all cores or
GPUs of this machine. The same command resumes a sweep that was stopped.

  imclass sweep sweep=quick
  imclass sweep sweep=lr model=vgg11 sweep.trials=50 sweep.workers=2
  imclass sweep sweep.name=mine model=resnet18,vgg11 \\
      optimizer.lr='tag(log,interval(1e-3,1))'

  --cfg job            print the sweep and one of its trials, and stop
  --config-dir FOLDER  add groups and sweeps of your own

Search space, in Hydra's grammar: a,b,c or choice(a,b,c), range(from,to,step),
interval(from,to), int(interval(from,to)), tag(log,interval(from,to)).
Every other setting holds for all trials; see imclass train --help.
"""


def train_help(command: str = "train") -> str:
    """Return the help of `imclass train`, `check`, `plan` or `lr-find`."""
    chosen = _default_choices()
    lines = [TRAIN.format(command=command, does=DOES[command])]
    lines += ["Groups, typed as group=choice. * marks the default.", ""]
    for group in [*chosen, "experiment"]:
        lines += [group, *_choices(group, chosen.get(group)), ""]
    lines += ["Settings, typed as key=value, with the defaults of the default choices.", ""]
    defaults = _default_values(chosen)
    for section in SECTIONS:
        own = (setting for setting in SETTINGS.values() if setting.key.startswith(f"{section}."))
        lines += [section, *_rows(own, defaults), ""]
    lines += ["run", *_rows((s for s in SETTINGS.values() if "." not in s.key), defaults)]
    return "\n".join(lines)


def sweep_help() -> str:
    """Return the help of `imclass sweep`."""
    return "\n".join(
        [SWEEP, "Sweeps", *_choices("sweep"), "", "Settings", *_rows(SWEEP_SETTINGS.values(), {})]
    )


def _default_choices() -> dict[str, str]:
    """Return {group: choice} of the defaults list in train.yaml."""
    entries = [
        entry for entry in read_yaml(config_dir() / "train.yaml")["defaults"] if isinstance(entry, dict)
    ]
    return {
        group: choice for entry in entries for group, choice in entry.items() if choice and " " not in group
    }


def _default_values(chosen: Mapping[str, str]) -> dict[str, Any]:
    """Return {key: value} that the default choices set."""
    files = {group: config_dir() / group / f"{choice}.yaml" for group, choice in chosen.items()}
    return flatten({group: read_yaml(file) or {} for group, file in files.items()})


def _choices(group: str, default: str | None = None) -> Iterator[str]:
    """Yield the choices of a group: what each is, and the settings that it brings."""
    choices = described_choices(group)
    column = max(map(len, choices)) + 4
    for name, description in choices.items():
        yield from _row(f"{'*' if name == default else ' '} {name}", description, column)
        file = config_dir() / group / f"{name}.yaml"
        if group in SECTIONS and file.exists():
            own = flatten(read_yaml(file) or {})
            brought = [f"{key}={_shown(value)}" for key, value in own.items() if key not in ("name", "type")]
            yield from _row("", " ".join(brought), column) if brought else ()


def _rows(settings: Iterable[Setting], defaults: Mapping[str, Any]) -> Iterator[str]:
    for setting in settings:
        accepted = _accepted(setting)
        notes = [accepted.replace(" ", _NO_BREAK) if len(accepted) < 25 else accepted]
        notes += [f"only {', '.join(setting.only_with)}"] if setting.only_with else []
        notes += [f"with {setting.needs}"] if setting.needs else []
        notes += [f"without {' or '.join(setting.overridden_by)}"] if setting.overridden_by else []
        note = "; ".join(filter(None, notes))
        default = _shown(defaults.get(setting.key, setting.default))
        text = f"{setting.meaning} ({note})" if note else setting.meaning
        yield from _row(f"  {setting.key}={default}", text, 30)


def _shown(value: Any) -> str:
    return show(value).replace(" ", "").replace("'", "")


def _accepted(setting: Setting) -> str:
    """Return what a setting accepts, in short; "" where default and meaning show it."""
    if setting.unit:
        return f"duration in {', '.join({'s': 's, min, h'}.get(unit, unit) for unit in setting.unit)}"
    if setting.allowed and setting.choices:
        return setting.allowed
    if setting.choices and int not in setting.options:
        words = ("true", "false") if bool in setting.options else ()
        return " | ".join([*words, *setting.choices])
    return ", or ".join(filter(None, [_limits(setting), *setting.choices]))


def _limits(setting: Setting) -> str:
    low, high = max(setting.above, setting.at_least), min(setting.below, setting.at_most)
    open_low, open_high = setting.above == low, setting.below == high
    if math.isinf(low):
        return setting.allowed if setting.pattern == ".*" else ""
    if math.isinf(high):
        return f"above {low:g}" if open_low else f"{low:g} or more"
    if open_low:
        return f"between {low:g} and {high:g}" if open_high else f"above {low:g}, up to {high:g}"
    return f"{low:g} to {'below ' if open_high else ''}{high:.12g}"


def _row(name: str, text: str, column: int) -> list[str]:
    """Return `name`, and `text` beside it from `column` on, or below it where the name is longer."""
    beside = len(name) + 2 <= column
    start = name.ljust(column) if beside else " " * column
    rows = textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=" " * column)
    return [*([] if beside else [name]), *(row.replace(_NO_BREAK, " ") for row in rows or [name])]
