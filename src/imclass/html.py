"""What all pages share: templates, and pictures inside the page, so that it needs nothing but a browser."""

import base64
from pathlib import Path

import jinja2


def embedded(file: Path) -> str:
    """Return a PNG as the source of an <img>."""
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()


def template(name: str) -> jinja2.Template:
    """Return `templates/<name>.j2`, with the filters `percent` and `clock`; what is put in is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("imclass"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: f"{100 * value:.2f} %"
    environment.filters["clock"] = clock
    return environment.get_template(f"{name}.j2")


def clock(seconds: float) -> str:
    """Return a time as '1 h 2 min' or '3 min 4 s'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
