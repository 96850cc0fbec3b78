"""What is known of a data set as text: lines for a terminal, a command, and a commented experiment."""

import json
import shlex
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from imclass.config.durations import clock
from imclass.config.overrides import quoted
from imclass.config.schema import ModelConfig
from imclass.config.setting import show
from imclass.data.inspection.inspect import Copies, Facts
from imclass.data.inspection.suggestion import UNEVEN, Choice, Suggestion
from imclass.errors import counted
from imclass.folding import padded, width_of

SHOWN_CLASSES, SHOWN = 30, 5  # rows of the table; problems, copies and kinds
COLUMN = 12
PATHS = ("dataset.root",)
GROUPS = ("dataset", "augment")
FLIPS = (
    "Flips are wrong where left and right differ: text, digits, road signs, hands, scans with a marked side. "
    "augment=text has none."
)


def fact_lines(data: str, facts: Facts) -> Iterator[str]:
    """Yield the lines on what there is, and what to mend."""
    yield from _row(show(data), f"{counted(facts.images, 'image')} in {counted(len(facts.counts), 'class')}")
    yield from _table(facts)
    if facts.groups:
        yield from _row("groups", f"{facts.groups:,}, each kept in one split or fold")
    yield from _row("sizes", _kinds(facts.sizes) + f"; median shorter side {facts.shorter_side}")
    if facts.formats:
        yield from _row("formats", _kinds(facts.formats))
    yield from _row("modes", _kinds(facts.modes))
    if facts.transparent:
        yield from _row("transparent", f"{counted(facts.transparent, 'image')}, on dataset.background=white")
    if facts.uneven >= UNEVEN:
        times = f"{facts.uneven:.0f} times as many images"
        yield from _row("uneven", f"{times} in the largest class as in the smallest")
    problems = [f"{show(problem.path)}: {problem.reason}" for problem in facts.problems]
    yield from _listed("problems", problems, "imclass data verify")
    if facts.ignored:
        yield from _row("ignored", f"{counted(facts.ignored, 'file')} that training passes over")
    yield from _copies("copies", facts.copies)
    yield from _copies("near copies", facts.near_copies)
    giveaways = [
        f"{g.trait} {g.value}: {g.of_class:.0%} of {show(g.label)}, {g.of_others:.0%} of the others"
        for g in facts.giveaways
    ]
    yield from _listed("giveaways", giveaways, "--json")


def suggestion_lines(suggestion: Suggestion) -> Iterator[str]:
    """Yield what to think of, and the settings to begin with as a command."""
    for remark in suggestion.remarks:
        yield from _row("note", remark)
    yield ""
    for number, choice in enumerate(_beside_word(suggestion)):
        yield from _row("" if number else "begin with", f"{_override(choice)} ({choice.why})")
    yield from _row("time", f"{_time(suggestion)}, by a probe of {ModelConfig().name}")
    yield ""
    yield command(suggestion)


def command(suggestion: Suggestion) -> str:
    """Return the command that trains with these settings; a folder or a table is its first word."""
    words = [suggestion.word] if suggestion.word else []
    return shlex.join(["imclass", "train", *words, *map(_override, _beside_word(suggestion))])


def _beside_word(suggestion: Suggestion) -> list[Choice]:
    """Return the choices that a folder or a table as a word does not stand for."""
    place = ("dataset", "dataset.root") if suggestion.word else ()
    return [choice for choice in suggestion.choices if choice.key not in place]


def experiment(data: str, file: str, facts: Facts, suggestion: Suggestion) -> str:
    """Return the settings as a commented YAML file for `imclass train experiment=FILE`."""
    about = f"{data}: {counted(facts.images, 'image')} in {counted(len(facts.counts), 'class')}."
    about += f" Written by imclass data inspect; not measured yet: {_time(suggestion)}."
    lines = ["# @package _global_", f"# imclass train experiment={_printable(shlex.quote(file))}"]
    for paragraph in (about, *suggestion.remarks, FLIPS):
        lines += textwrap.wrap(_printable(paragraph), 110, initial_indent="# ", subsequent_indent="# ")
    choices = suggestion.choices
    lines.append("defaults:")
    lines += [f"  - override /{c.key}: {c.value} # {c.why}" for c in choices if c.key in GROUPS]
    sections: dict[str, list[str]] = {}
    for choice in choices:
        if choice.key not in GROUPS:
            section, _, name = choice.key.partition(".")
            value = json.dumps(choice.value, ensure_ascii=False) if choice.key in PATHS else choice.value
            sections.setdefault(section, []).append(f"  {name}: {value} # {choice.why}")
    for section, settings in sections.items():
        lines += ["", f"{section}:", *settings]
    return "\n".join(lines) + "\n"


def _override(choice: Choice) -> str:
    return f"{choice.key}={quoted(choice.value) if choice.key in PATHS else choice.value}"


def _time(suggestion: Suggestion) -> str:
    place = "GPU" if suggestion.device != "cpu" else "CPU"
    minutes = round(suggestion.seconds / 60)
    about = f"about {clock(60 * minutes).removesuffix(' 0 s')}" if minutes else "less than a minute"
    return f"{about} of training on this machine's {place}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _row(name: str, text: str) -> list[str]:
    """Return a name and the text beside it; below a long name."""
    beside = width_of(name) < COLUMN
    return [f"{padded(name, COLUMN - 1)} {text}"] if beside else [name, *_row("", text)]


def _table(facts: Facts) -> Iterator[str]:
    """Yield the images of each class by part; of many classes, the smallest and the largest."""
    parts = facts.parts
    rows = [(show(name), [own.get(part, 0) for part in parts]) for name, own in facts.counts.items()]
    if len(rows) > SHOWN_CLASSES:
        rows = sorted(rows, key=lambda row: -sum(row[1]))
        half = SHOWN_CLASSES // 2
        left = len(rows) - 2 * half
        rows = [*rows[:half], (f"... {left} more", []), *rows[-half:]]
    names = [name if len(name) <= 40 else f"{name[:37]}..." for name, _ in rows]
    column = max(map(width_of, names))
    yield " " * COLUMN + f"{'':{column}}" + "".join(f"{part:>9}" for part in parts)
    for name, (_, counts) in zip(names, rows, strict=True):
        numbers = "".join(f"{count or 'none':>9,}" if count else f"{'none':>9}" for count in counts)
        yield f"{'':{COLUMN}}{padded(name, column)}{numbers}".rstrip()


def _kinds(counts: Mapping[str, int]) -> str:
    shown = ", ".join(f"{show(kind)} {count:,}" for kind, count in [*counts.items()][:SHOWN])
    return shown + (f" and {len(counts) - SHOWN:,} more" if len(counts) > SHOWN else "")


def _listed(name: str, texts: Sequence[str], where: str) -> Iterator[str]:
    """Yield the first texts, one a line, and where the others are."""
    for number, text in enumerate(texts[:SHOWN]):
        yield from _row("" if number else name, text)
    if len(texts) > SHOWN:
        yield from _row("", f"and {len(texts) - SHOWN:,} more: {where} lists all")


def _copies(name: str, groups: Sequence[Copies]) -> Iterator[str]:
    """Yield how many pictures are copies, and the first groups; first those in two splits or classes."""
    if not groups:
        return
    text = f"{sum(len(own.names) for own in groups):,} pictures in {counted(len(groups), 'group')}"
    if across := sum(len(own.parts) > 1 for own in groups):
        text += f", {across:,} across splits"
    if mixed := sum(len(own.labels) > 1 for own in groups):
        text += f", {mixed:,} in two classes"
    yield from _row(name, text)
    worst = sorted(groups, key=lambda own: -(len(own.parts) > 1) - (len(own.labels) > 1))
    yield from _row("", " = ".join(_some(worst[0].names)))
    yield from _listed("", [" = ".join(_some(own.names)) for own in worst[1:]], "--json")


def _some(names: Sequence[str]) -> Iterable[str]:
    shown = [show(name) for name in names[:3]]
    return [*shown, f"{len(names) - 3:,} more"] if len(names) > 3 else shown
