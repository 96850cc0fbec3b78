"""Predictions as rows of text: a table for people, JSON lines, CSV. No torch here."""

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from imclass.config.setting import show
from imclass.folding import in_columns, width_of

if TYPE_CHECKING:
    from torch import Tensor


class Prediction(NamedTuple):
    file: Path
    image: "Tensor"  # uint8 (C, H, W), as the network sees it
    top: list[tuple[str, float]]  # classes with their probabilities, the likeliest first
    truth: str | None = None  # the class that its folder or label names

    @property
    def right(self) -> bool | None:
        """Whether the likeliest class is the true one; None if that is not known."""
        return None if self.truth is None else self.top[0][0] == self.truth


Line = Callable[[Prediction], str]
Truths = Mapping[Path, str]


def _table(files: Sequence[Path], top_k: int, truths: Truths) -> tuple[str, Line]:
    first = max(len("file") if truths else 0, *(width_of(show(str(file))) for file in files))
    true = [max(map(width_of, ("truth", *map(show, truths.values()))))] if truths else []

    def row(file: str, truth: str, classes: Sequence[str]) -> str:
        cells = [file, *([truth] if truths else []), *classes]
        return in_columns(cells, [first, *true, *map(width_of, classes)], sys.stdout)

    def line(p: Prediction) -> str:
        classes = [f"{show(name)} {probability:.1%}" for name, probability in p.top]
        return row(show(str(p.file)), "" if p.truth is None else show(p.truth), classes)

    return row("file", "truth", ["predicted"]) + "\n" if truths else "", line


def _json(files: Sequence[Path], top_k: int, truths: Truths) -> tuple[str, Line]:
    def line(p: Prediction) -> str:
        row: dict[str, Any] = {"file": str(p.file), "class": p.top[0][0], "probability": p.top[0][1]}
        row["top"] = [{"class": name, "probability": probability} for name, probability in p.top]
        return json.dumps(row | ({"truth": p.truth} if truths else {}))

    return "", line


def _csv(files: Sequence[Path], top_k: int, truths: Truths) -> tuple[str, Line]:
    def text(values: Sequence[Any]) -> str:
        output = io.StringIO()
        csv.writer(output, lineterminator="").writerow(values)
        return output.getvalue()

    ranks = [f"{column}_{rank}" for rank in range(2, top_k + 1) for column in ("class", "probability")]
    header = text(["file", "class", "probability", *ranks, *(["truth"] if truths else [])]) + "\n"

    def line(p: Prediction) -> str:
        values = [_safe(str(p.file)), *(value for pair in p.top for value in pair)]
        return text([*values, p.truth or ""] if truths else values)

    return header, line


def _safe(text: str) -> str:
    r"""Return a file name with bytes that are not Unicode, and what moves a terminal's cursor, as \x1b."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", text)


FORMATS = {"table": _table, "json": _json, "csv": _csv}
