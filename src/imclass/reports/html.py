"""Templates of the pages; pictures are embedded, so that a page is one file and opens offline."""

import base64
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import jinja2

from imclass.config.durations import clock
from imclass.config.metric import ACCURACY
from imclass.config.setting import show
from imclass.runs.records import read_bytes


def embedded(file: Path) -> str | None:
    """Return a PNG as the source of an <img>; None if there is none: a link may lead to any file.

    Raises UserError for a file that cannot be read.
    """
    content = read_bytes(file) if file.exists() and not file.is_symlink() else b""
    is_png = content.startswith(b"\x89PNG\r\n\x1a\n")
    return "data:image/png;base64," + base64.b64encode(content).decode() if is_png else None


def template(name: str) -> jinja2.Template:
    """Return `templates/<name>.j2`, with the filters `percent` and `clock`; values are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("imclass.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = ACCURACY.show
    environment.filters["clock"] = clock
    return environment.get_template(f"{name}.j2")


def brief_path(value: object) -> str:
    """Return a setting as `show` does; of an absolute path what is below the current folder, or its name.

    Other paths are written as they are meant: pictures for ./pictures/.
    """
    value = _meant(value)
    if not isinstance(value, str) or not Path(value).is_absolute():
        return show(value)
    path, here = Path(value), Path.cwd()
    return show(str(path.relative_to(here)) if path.is_relative_to(here) else path.name or value)


def _meant(value: object) -> object:
    """Return a path without the detours in it, and any other value as it is."""
    is_path = isinstance(value, str) and "/" in value and "://" not in value
    return os.path.normpath(str(value)) if is_path else value


def brief_paths(values: Iterable[object]) -> dict[str, str]:
    """Return what `brief_path` makes of each value, by what `show` does; in full where it is that of two."""
    meant = {show(value): _meant(value) for value in values}
    often = Counter(brief_path(value) for value in {show(value): value for value in meant.values()}.values())
    return {
        full: brief if often[brief := brief_path(value)] == 1 else show(value)
        for full, value in meant.items()
    }
