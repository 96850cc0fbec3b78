"""What `dataset.root` may be: a folder of class folders, or a table of files and labels. No torch here."""

from pathlib import Path

TABLES = (".csv", ".parquet")  # endings of the files that are read as tables


def is_table(root: str | Path) -> bool:
    """Return whether a path has the ending of a table of files and labels, and is no folder."""
    path = Path(root).expanduser()
    return path.suffix.lower() in TABLES and not path.is_dir()
