"""Runs by name, as `resume=` and `model.weights=` take them. No torch here."""

import re
from pathlib import Path

from imclass.errors import UserError, did_you_mean

RUN_NAME = r"(?!\.)[A-Za-z0-9._-]{1,100}"
RUN_NAME_IN_WORDS = "1 to 100 letters, digits, dots, dashes and underscores, no leading dot"
BEST = (
    "checkpoints/best.pt",
    "best.safetensors",
)  # where a run's best weights are, the first one that exists
SHOWN = 5  # names of runs in a message
FILES = (".pt", ".pth", ".bin", ".safetensors")


def is_run(path: Path) -> bool:
    return (path / "config.yaml").is_file()


def is_sweep(path: Path) -> bool:
    return (path / "sweep.yaml").is_file()


def user_path(text: str | Path) -> Path:
    """Return the path that the shell would make of what was typed; where ~x is no user, what was typed."""
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def run_path(text: str, output_dir: str = "outputs") -> str:
    """Return what was typed for a run as a path: a name becomes that of its folder.

    A path, and the name of a file of weights, stay as they are. A name that no run has is the folder that
    a run of that name would have, so that a command means the same after its run is gone.
    """
    path, folder = user_path(text), Path(output_dir)
    if path.is_file() or is_run(path) or path.suffix in FILES or not re.fullmatch(RUN_NAME, text):
        return text
    places = (folder, *(p.parent for p in folder.parents if p.name == "sweeps"), Path("outputs"))
    found = (place / text for place in places if is_run(place / text))
    return str(next(found, text if path.exists() else folder / text))


def similar_runs(path: str) -> str:
    """Return `; did you mean ...?` with the runs beside `path` whose names are most like its own.

    Without any like it, the first of them all.
    """
    wanted = Path(path)
    names = sorted(file.parent.name for file in wanted.parent.glob("*/config.yaml"))
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    listed = f"; {wanted.parent} has {', '.join(names[:SHOWN])}{more}" if names else ""
    return did_you_mean(wanted.name, names) or listed


def weights_file(text: str) -> Path:
    """Return the file of weights that a path names: itself, or the best weights of a run folder.

    text: what `run_path` returns. Raises UserError where there is none.
    """
    path = user_path(text)
    if path.is_file():
        return path
    if is_run(path):
        for name in BEST:
            if (path / name).is_file():
                return path / name
        raise UserError(
            f"model.weights={text}: this run has no best model yet; let it train to an evaluation"
        )
    if path.is_dir():
        raise UserError(
            f"model.weights={text}: a folder, but of no run; expected a run, or a file of weights"
        )
    raise UserError(f"model.weights={text}: no such file, and no such run{similar_runs(text)}")
