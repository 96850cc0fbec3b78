"""Long lines on a terminal: broken between words, with commands that can still be copied."""

import math
import re
import shutil
import unicodedata
from collections.abc import Sequence
from typing import Protocol

_LABEL = re.compile(r" *(?:\S+ )*?\S+ {2,}(?=\S)| +|\S+ +")
_ARGUMENT = r"(?:\S*[=/](?:\S*[^\s;,)])?|-\S*\w|[A-Z]{2,}|\.\.\.)"
_COMMAND = re.compile(rf"(?:imclass [a-z-]+|torchrun|tensorboard)(?: {_ARGUMENT})+")
_WORD = re.compile(r"(?:= )?(?:\(?\d[\d.,]* )?\S+")  # with the = before it, or the number whose unit it is
_BELOW = " " * 4  # begins a line that continues the one above


class Terminal(Protocol):
    def isatty(self) -> bool: ...


def folded(text: str, stream: Terminal) -> str:
    """Return `text` in lines as wide as the terminal that `stream` is, broken at spaces; elsewhere as it is.

    Further lines are indented as far as the label, which a line may begin with. A command is broken where
    a shell continues it.
    """
    if not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return "\n".join(part for line in text.split("\n") for part in _fold(line, width))


def width_of(text: str) -> int:
    """Return how many columns of a terminal `text` takes: Chinese, Japanese and Korean letters take two."""
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me") else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in unicodedata.normalize("NFC", text)  # some systems write names letter by letter
    )


def padded(text: str, width: int) -> str:
    """Return `text` with spaces behind it up to `width` columns of a terminal."""
    return text + " " * (width - width_of(text))


def in_columns(cells: Sequence[str], widths: Sequence[int], stream: Terminal) -> str:
    """Return a row of a table, each cell as wide as its column, two spaces between.

    On a terminal that is narrower than the columns, the row goes on in a line below, at the same column in
    every row.
    """
    available = shutil.get_terminal_size().columns if stream.isatty() else math.inf
    lines, end = [""], -2
    for cell, width in zip(cells, widths, strict=True):
        start = end + 2
        if start and start + width > available:
            lines.append("")
            start = len(_BELOW)
        lines[-1] = padded(lines[-1], start) + cell
        end = start + width
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _fold(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    label = _LABEL.match(line)
    start = label[0] if label and len(label[0]) <= width // 2 else ""
    rest, indent = line[len(start) :], " " * len(start)
    lines = [start]
    command = _COMMAND.match(rest)
    widest = max(map(len, [*rest.split(), command[0] if command else ""]))
    if len(start) > 4 and widest > width - len(start):  # a long path, or a command that fits better below
        lines, indent = [start.rstrip(), _BELOW], _BELOW
    for part in _parts(rest, width - len(indent)):
        begun = lines[-1].strip() and lines[-1] != start
        if begun and (len(lines[-1]) + 1 + len(part) > width or lines[-1].endswith("\\")):
            lines.append(indent + part)
        else:
            lines[-1] += f" {part}" if begun else part
    return lines


def _parts(text: str, width: int) -> list[str]:
    """Return what stays on one line: words as of _WORD, and commands, or their parts if they are wider."""
    parts: list[str] = []
    position = 0
    for command in _COMMAND.finditer(text):
        after = text[command.end() : command.end() + 1].strip()  # without a space: a semicolon
        parts += [
            *_WORD.findall(text[position : command.start()]),
            *_continued(command[0], width - len(after)),
        ]
        parts[-1] += after
        position = command.end() + len(after)
    return parts + _WORD.findall(text[position:])


def _continued(command: str, width: int) -> list[str]:
    """Return a command in parts of at most `width` characters; all but the last end in a backslash."""
    if len(command) <= width:
        return [command]
    parts = [""]
    for word in command.split(" "):
        longer = f"{parts[-1]} {word}" if parts[-1] else word
        if len(longer) > width - 2 and parts[-1].strip():
            parts[-1] += " \\"
            parts.append(f"  {word}")
        else:
            parts[-1] = longer
    return parts
