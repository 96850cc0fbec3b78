"""Where commands that train nothing leave what they draw: below the folder of runs, but in no run."""

import datetime
from pathlib import Path

from imclass.config.schema import Config


def new_file(config: Config, folder: str, ending: str) -> Path:
    """Return <output_dir>/<folder>/<date>_<time>_<model>_<dataset>.<ending>, which is not there yet."""
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    name = f"{stamp}_{config.components}"
    parent = Path(config.output_dir) / folder
    names = (f"{name}{'' if number == 1 else f'-{number}'}.{ending}" for number in range(1, 10_000))
    return next(parent / free for free in names if not (parent / free).exists())
