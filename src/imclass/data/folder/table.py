"""A table of image files and their labels, as CSV or Parquet:

    file,label,split,group
    scans/0001.png,healthy,train,patient 7

Files are relative to the table's folder. `split` (train, val or test) and `group` (a patient, a site, a
video) may be left out; other columns are ignored. No group may be in two splits.
"""

import csv
import functools
import io
import posixpath
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from imclass.config.data_root import PART_NAMES
from imclass.config.setting import brief
from imclass.data.folder.scan import ImageFile
from imclass.endings import say
from imclass.errors import ConfigError, UserError, counted, did_you_mean
from imclass.runs.regular import open_regular

NEEDED, OPTIONAL = ("file", "label"), ("split", "group")
DELIMITERS = ",;\t"
SHOWN = 10  # bad rows
MISSPELT = 0.75  # similarity from which a column is called misspelt; `crop` has 0.67 to `group`

Cells = tuple[str, Mapping[str, str]]  # "line 7", {column: text}


class Row(NamedTuple):
    where: str  # "line 7"
    file: str
    label: str
    part: str  # train where there is no column `split`
    group: str


def read_table(
    file: Path, given: str, *, least: int = 2
) -> tuple[tuple[str, ...], dict[str, list[ImageFile]]]:
    """Return the labels and the images of `train` and, if there are any, `test` and `val`.

    As of a folder: images are ordered by class, then by name, and none is opened. given: what the user typed,
    for messages. least: number of classes. Raises UserError for what is no table, and ConfigError with all
    its bad rows.
    """
    rows, problems = _checked(_cells(file, given, NEEDED))
    _refuse(problems or [*_groups_in_two_parts(rows)], file)
    labels = {part: {row.label for row in rows if row.part == part} for part in PART_NAMES}
    only_test = least == 1 and not labels["train"]  # what is not trained on needs no training rows
    classes = tuple(sorted(set().union(*labels.values()) if only_test else labels["train"], key=_natural))
    if len(classes) < least:
        count = counted(len(classes), "different label")
        raise UserError(f"{given}: {count} in its training rows; expected {least} or more")
    for part, own in labels.items():
        if unknown := sorted(own - set(classes)):
            names = ", ".join(map(brief, unknown[:SHOWN]))
            raise UserError(f"{file}: labels of {part} that no training row has: {names}")
    index = {name: number for number, name in enumerate(classes)}
    parts: dict[str, list[ImageFile]] = {part: [] for part in PART_NAMES if labels[part]}
    for row in rows:
        parts[row.part].append(_image_file(file.parent, row, index[row.label]))
    for found in parts.values():
        found.sort(key=lambda image: (image.label, image))
    return classes, parts


def read_pictures(file: Path, given: str) -> dict[Path, str]:
    """Return the pictures of a table that are to be predicted, each with its label, "" where it has none.

    No column `label` is needed; `split` and `group` are ignored. Raises what `read_table` does.
    """
    cells = [
        (where, {name: text for name, text in columns.items() if name not in OPTIONAL})
        for where, columns in _cells(file, given, NEEDED[:1])
    ]
    rows, problems = _checked(cells, labelled=False)
    _refuse(problems, file)
    return {file.parent / row.file: row.label for row in rows}


def _refuse(problems: Sequence[str], file: Path) -> None:
    """Raise ConfigError with the first problems and the number of the others, unless there are none."""
    more = [f"{file}: and {len(problems) - SHOWN:,} more bad rows"] if len(problems) > SHOWN else []
    if problems:
        raise ConfigError([*(f"{file}: {problem}" for problem in problems[:SHOWN]), *more])


def _natural(label: str) -> tuple[bool, int, str]:
    """Return a key that sorts whole numbers by their size, before all other labels."""
    number = label.isascii() and label.isdigit()
    return not number, int(label) if number else 0, label


def _image_file(folder: Path, row: Row, label: int) -> ImageFile:
    try:
        status = (folder / row.file).stat()
    except OSError:
        return ImageFile(row.file, label, -1, 0, row.group)
    size = status.st_size if stat.S_ISREG(status.st_mode) else -1
    return ImageFile(row.file, label, size, status.st_mtime_ns, row.group)


def _checked(cells: Sequence[Cells], *, labelled: bool = True) -> tuple[list[Row], list[str]]:
    """Return the sound rows, and what is wrong with the others."""
    divided = any(columns.get("split") for _, columns in cells)
    grouped = any(columns.get("group") for _, columns in cells)
    rows: dict[str, Row] = {}
    problems: list[str] = []
    for where, columns in cells:
        row, problem = _row(where, columns, divided=divided, grouped=grouped, labelled=labelled)
        before = rows.setdefault(row.file, row)
        if not problem and before is not row and (labelled or before.label != row.label):
            problem = f"{brief(row.file)} is also in {before.where}, as {brief(before.label)}"
            problem += f" of {before.part}" if divided else ""
        if problem:
            problems.append(f"{where}: {problem}")
    return list(rows.values()), problems


def _row(
    where: str, columns: Mapping[str, str], *, divided: bool, grouped: bool, labelled: bool
) -> tuple[Row, str]:
    """Return a row and the problem with it, "" if none."""
    name, label, split = (columns.get(key, "") for key in ("file", "label", "split"))
    part = next((part for part, names in PART_NAMES.items() if split.lower() in names), "")
    problem = ""
    if "" in columns:
        problem = columns[""]
    elif not name or (labelled and not label):
        problem = f"has no {'label' if name else 'file'}"
    elif divided and not part:
        problem = f"split={brief(split)}: expected train, val or test{did_you_mean(split, PART_NAMES)}"
    file = posixpath.normpath(name)
    group = columns.get("group") or f"file {file}" if grouped else ""  # without one, it is its own
    return Row(where, file, label, part if divided else "train", group), problem


def _groups_in_two_parts(rows: Sequence[Row]) -> Iterator[str]:
    first: dict[str, Row] = {}
    for row in rows:
        before = first.setdefault(row.group, row)
        if row.group and before.part != row.part:
            both = f"in {before.part} ({before.where}) and in {row.part}"
            yield f"{row.where}: group {brief(row.group)} is {both}; keep a group in one split"


def _cells(file: Path, given: str, needed: Sequence[str]) -> list[Cells]:
    """Return the text in each row's known columns; under "" what is wrong with the row itself.

    Raises UserError for what is no table, or lacks a column of `needed`.
    """
    read = _parquet_cells if file.suffix.lower() == ".parquet" else _csv_cells
    try:
        cells = [*read(file, needed)]
    except (OSError, csv.Error, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{given}: cannot be read as a table ({brief(reason)})") from error
    if not cells:
        raise UserError(f"{given}: has no rows below its header")
    return cells


def _csv_cells(file: Path, needed: Sequence[str]) -> Iterator[Cells]:
    with open_regular(file) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
        header = text.readline()
        delimiter = max(DELIMITERS, key=header.count)
        names = _known_columns(next(csv.reader([header], delimiter=delimiter), []), file, needed)
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        for values in reader:
            if values:  # not an empty line
                columns = {name: value.strip() for name, value in zip(names, values, strict=False) if name}
                if len(values) != len(names):
                    columns[""] = f"has {counted(len(values), 'field')}; expected {len(names)}"
                yield f"line {reader.line_num + 1}", columns


def _parquet_cells(file: Path, needed: Sequence[str]) -> Iterator[Cells]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise UserError(f"{file}: Parquet needs pyarrow: pip install 'imclass[parquet]'") from error
    try:
        with open_regular(file) as raw:
            table = parquet.ParquetFile(raw)
            present = table.schema_arrow.names
            names = _known_columns(present, file, needed)
            chosen = [column for column, name in zip(present, names, strict=True) if name]
            columns = table.read(chosen).to_pydict()
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from error
    known = [name for name in names if name]
    for number, values in enumerate(zip(*(columns[column] for column in chosen), strict=True), start=1):
        texts = ("" if value is None else str(value).strip() for value in values)
        yield f"row {number}", dict(zip(known, texts, strict=True))


@functools.cache
def _warn(message: str) -> None:
    """Print a warning once: a command may read a table several times."""
    say(message)


def _known_columns(header: Sequence[str], file: Path, needed: Sequence[str]) -> list[str]:
    """Return the name of each column that is read, "" for others. Raises UserError where one is missing.

    Warns of a column that may be misspelt.
    """
    names = [name.strip().lower() for name in header]
    others = {*names} - {*NEEDED, *OPTIONAL}
    optional = OPTIONAL if "label" in needed else NEEDED[1:]
    for name in needed:
        if name not in names:
            shown = ", ".join(brief(column) for column in header[:SHOWN]) or "none"
            raise UserError(
                f"{file}: has no column {name!r}; its columns: {shown}; expected {' and '.join(needed)}, and "
                f"perhaps {' and '.join(optional)}, in the first line{did_you_mean(name, others)}"
            )
    for name in (name for name in optional if name not in names):
        if near := did_you_mean(name, others, cutoff=MISSPELT):
            _warn(f"warning: {file}: has no column {name!r}{near}")  # an error would stop runs trained on it
    known = [name if name in (*NEEDED, *OPTIONAL) else "" for name in names]
    for name in filter(None, known):
        if known.count(name) > 1:
            raise UserError(f"{file}: has two columns {name!r}; rename one")
    return known
