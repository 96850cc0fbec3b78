"""Templates of the pages; pictures are embedded, so that a page is one file and opens offline."""

import base64
from pathlib import Path

import jinja2

from imclass.config.durations import clock
from imclass.config.metric import ACCURACY
from imclass.runs.records import read_bytes


def embedded(file: Path) -> str:
    """Return a PNG as the source of an <img>. Raises UserError for a file that cannot be read."""
    return "data:image/png;base64," + base64.b64encode(read_bytes(file)).decode()


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
