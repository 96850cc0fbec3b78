"""The look shared by all plots: colours for colour-blind readers, few lines, units."""

import io
import warnings
from functools import cache
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path
from matplotlib.ticker import PercentFormatter

from imclass.config.metric import Metric
from imclass.runs.atomic import write_atomically

# Okabe & Ito 2008 (jfly.uni-koeln.de/color), with a stronger red, and greys.
ORANGE, BLUE, GREEN, RED = "#E69F00", "#0072B2", "#009E73", "#CC3311"
SKY, PURPLE, YELLOW, BLACK = "#56B4E9", "#CC79A7", "#B8A800", "#000000"
SERIES = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, BLACK)
GREY, GRID = "#555555", "#DDDDDD"


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, without pyplot and its global state."""
    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def style(axes: Axes, title: str, xlabel: str, ylabel: str = "") -> None:
    """Set a bold title at the left, labels and a light grid; remove the box."""
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def as_metric(axes: Axes, metric: Metric) -> None:
    """Write percentages along the y axis of a metric that is one."""
    if metric.percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))


def save(figure: Figure, file: Path) -> None:
    """Write a PNG atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    png = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a class name in a script that the font lacks
        figure.savefig(png, format="png")
    write_atomically(file, png.getbuffer())


def shortened(text: str, length: int) -> str:
    """Return `text`, its middle elided beyond `length` characters, and '$' escaped."""
    return _elided(_printable(text), length).replace("$", r"\$")


def fitted(text: str, width: float, font: FontProperties) -> str:
    """Return `text`, its middle elided as far as `width` in points demands, and '$' escaped."""
    text = _printable(text)
    length = len(text)
    while length > 1 and (wide := _width(_elided(text, length), font)) > width:
        length = min(length - 1, round(length * width / wide))
    return _elided(text, max(1, length)).replace("$", r"\$")


def wrapped(text: str, width: float, font: FontProperties) -> list[str]:
    """Return `text` in lines of at most `width` in points, broken at spaces; '$' is escaped."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _width(_printable(longer), font) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return [fitted(line, width, font) for line in lines]


def _width(text: str, font: FontProperties) -> float:
    """Return the width of a line in points."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width)


@cache
def _is_drawn(char: str) -> bool:
    """Return whether one of the plots' fonts has a glyph for it: others are drawn as the same empty box."""
    families = (FontProperties(family=[family]) for family in FontProperties().get_family())
    fonts = (get_font(findfont(family)) for family in families)
    return char.isprintable() and any(font.get_char_index(ord(char)) for font in fonts)


def _printable(text: str) -> str:
    """Return `text` with the code of what is not drawn, such as [1f355], so that names stay different."""
    return "".join(c if _is_drawn(c) else f"[{ord(c):x}]" for c in text)


def _elided(text: str, length: int) -> str:
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[: length - 1 - half]}…{text[len(text) - half :]}"
