"""What `dataset.root` may be: a folder of class folders, or a table of files and labels. No torch here."""

import os
import shlex
from itertools import islice
from pathlib import Path

from imclass.config.run_names import is_run, is_sweep, user_path
from imclass.errors import did_you_mean

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
OWN_PICTURES = "lr-find"  # the folder of curves that `imclass lr-find` makes beside the runs
SEARCHED = 1_000  # folders that are looked into for the first picture


def is_table(root: str | Path) -> bool:
    """Return whether a path has the ending of a table of files and labels, and is no folder."""
    path = user_path(root)
    return path.suffix.lower() in TABLES and not path.is_dir()


def holds_class_folders(root: Path) -> bool:
    """Return whether a folder below `root` holds what is named like a picture."""
    below = (
        files for folder, _, files in islice(os.walk(root, followlinks=True), SEARCHED) if folder != str(root)
    )
    return any(name.lower().endswith(PICTURES) for files in below for name in files)


def near_path(text: str) -> str:
    """Return `; did you mean ...?` with what stands where `text` points to under nearly its name, or ""."""
    path = user_path(text)
    readable = path.parent.is_dir() and os.access(path.parent, os.R_OK | os.X_OK)
    return did_you_mean(str(path), map(str, path.parent.iterdir())) if readable else ""


def problem_of_runs(root: Path) -> str:
    """Return what is wrong with a folder of runs where class folders are expected, and what to type; else "".

    A folder of runs beside class folders, or beside train/, does no harm: it is passed over.
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
    """Return the folder itself if it is a run or a sweep, else one in it; deeper where it has only those."""
    try:
        if is_output(root):
            return root
        folders = sorted(path for path in root.iterdir() if path.name[0] != "." and path.is_dir())
    except OSError:  # reading the pictures says why
        return None
    if any(folder.name.lower() in PART_NAMES["train"] for folder in folders):
        return None
    found = [run_in(folder) for folder in folders]
    runs = [run for folder, run in zip(folders, found, strict=True) if run == folder]
    return runs[0] if runs else found[0] if found and all(found) else None


def run_in(folder: Path, deeper: int = 1) -> Path | None:
    """Return the folder if it is a run or a sweep, else one in it, as in outputs/; None for a class folder.

    Where pictures lie in it, or in a folder in it that is no run, it is a class. deeper: in how many levels
    of folders without pictures the runs may be: outputs/sweeps/quick is in one.
    """
    folders = _folders_beside_no_picture(folder)
    if folders is None:
        return None
    if is_output(folder):
        return folder
    found = next(filter(is_output, folders), None)
    others = [below for below in folders if below.name != OWN_PICTURES and not is_output(below)]
    if any(_folders_beside_no_picture(below) is None for below in others):
        return None
    if found or not deeper:
        return found
    return next(filter(None, (run_in(below, deeper - 1) for below in others)), None)


def _folders_beside_no_picture(folder: Path) -> list[Path] | None:
    """Return the folders in a folder, sorted; None where a picture is beside them, or it cannot be read."""
    folders: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.name.lower().endswith(PICTURES):  # one is enough: there may be a million
                    return None
                if entry.is_dir():
                    folders.append(Path(entry.path))
    except OSError:  # reading the pictures says why
        return None
    return sorted(folders)


def is_output(folder: Path) -> bool:
    """Return whether a folder is a run or a sweep of ours: other programs have a config.yaml, too."""
    try:
        if is_run(folder):
            return (folder / "checkpoints").is_dir() or (folder / "provenance.json").is_file()
        return is_sweep(folder) and ((folder / "journal.log").is_file() or any(map(is_run, folder.iterdir())))
    except OSError:  # reading the pictures says why
        return False
