"""The page of a planned training: what it will do, its learning rates, and the images that it will see."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from imclass.data.dataset import Data
from imclass.data.loader import TrainLoader
from imclass.reports.html import embedded, template
from imclass.reports.plots.rates import plot_schedule
from imclass.reports.split_report import draw_data
from imclass.runs.atomic import write_atomically


def write_plan_page(
    file: Path,
    lines: Sequence[str],
    command: str,
    loader: TrainLoader,
    data: Data,
    rates: Sequence[float],
    evaluated: Sequence[int],
) -> None:
    """Write one HTML file. lines: as on the terminal. rates, evaluated: as of `plot_schedule`."""
    with tempfile.TemporaryDirectory() as scratch:
        drawn = Path(scratch)
        draw_data(loader, data.splits, data.classes, drawn)
        plot_schedule(rates, loader.steps_per_epoch, evaluated, drawn / "schedule.png")
        names = "samples", "schedule", "classes"  # their own titles say what they show
        pictures = {name: embedded(drawn / f"{name}.png") for name in names}
    file.parent.mkdir(parents=True, exist_ok=True)
    page = template("plan.html").render(name=file.stem, lines=lines, command=command, pictures=pictures)
    write_atomically(file, page)
