"""What `dataset.root` may be: a folder of class folders, or a table of files and labels. No torch here."""

import os
import shlex
from itertools import islice
from pathlib import Path

from imclass.config.run_names import is_run, is_sweep

TABLES = (".csv", ".parquet")  # endings of the files that are read as tables
PART_NAMES = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation"),
}
# Enough to recognize a folder of them; which files are read, `data.folder.decode` knows, which needs Pillow.
PICTURES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".gif",
    ".webp",
    ".bmp",
    ".tif",
    ".tiff",
    ".avif",
    ".jp2",
    ".pgm",
    ".ppm",
)
SEARCHED = 1_000  # folders that are looked into for the first picture


def is_table(root: str | Path) -> bool:
    """Return whether a path has the ending of a table of files and labels, and is no folder."""
    path = Path(root).expanduser()
    return path.suffix.lower() in TABLES and not path.is_dir()


def holds_class_folders(root: Path) -> bool:
    """Return whether a folder below `root` holds what is named like a picture."""
    below = (
        files for folder, _, files in islice(os.walk(root, followlinks=True), SEARCHED) if folder != str(root)
    )
    return any(name.lower().endswith(PICTURES) for files in below for name in files)


def problem_of_runs(root: Path) -> str:
    """Return what is wrong with a folder whose class folders would be runs, and what to type; else "".

    Their plots would be trained on. Runs beside train/ do no harm: only its parts are read then.
    """
    found = _found_run(root)
    if found is None:
        return ""
    kind, shown = "run" if is_run(found) else "sweep", shlex.quote(str(found))
    way = f"resume it, type resume={shown}" if kind == "run" else f"look at it, type imclass report {shown}"
    if found == root:
        return f"a {kind} folder; to {way}"
    return f"holds {kind}s, such as {found}; expected class folders of pictures alone; to {way}"


def _found_run(root: Path) -> Path | None:
    """Return the folder itself if it is a run or a sweep, else the first in it, or one folder deeper."""
    try:
        if is_run(root) or is_sweep(root):
            return root
        folders = sorted(path for path in root.iterdir() if path.name[0] != "." and path.is_dir())
        if any(folder.name.lower() in PART_NAMES["train"] for folder in folders):
            return None
        return next(filter(None, map(_first_run, folders)), None)
    except OSError:  # reading the pictures says why
        return None


def _first_run(folder: Path) -> Path | None:
    """Return a folder that is a run or a sweep, else one in it. A class folder is not read to its end."""
    if is_run(folder) or is_sweep(folder):
        return folder
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.lower().endswith(PICTURES):
                break
            if entry.is_dir() and (is_run(Path(entry.path)) or is_sweep(Path(entry.path))):
                return Path(entry.path)
    return None
