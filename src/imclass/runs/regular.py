"""Opens files that may come from strangers: opening a FIFO would wait, and reading a device may never end."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file, or a link to one, for reading; anything else raises OSError and is not opened.

    The opened file is looked at again: it may not be the one that had the name before.
    """
    _require_regular(Path(path).stat())
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _require_regular(os.fstat(descriptor))
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"not a regular file but {KINDS.get(stat.S_IFMT(status.st_mode), 'a device')}")
