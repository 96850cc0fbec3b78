"""Where data files are looked for, and how missing ones are downloaded."""

import http.client
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch.hub

from imclass.config.schema import DatasetConfig
from imclass.errors import UserError
from imclass.runs.atomic import replacing, sweep_debris
from imclass.runs.locks import locked

SYSTEM_ROOT = Path("/usr/share/datasets")  # where Debian's packages put theirs
REMEDY = "delete it to have it fetched again"  # advice about a damaged file
STALLED_AFTER = 30  # seconds without a byte before a download is given up


class Source(NamedTuple):
    """Where a file is downloaded from. verify: raises UserError on wrong contents."""

    urls: Sequence[str]
    verify: Callable[[Path], object]


def data_roots(root: str | None) -> list[Path]:
    """Return the folders to search: `root` if given, else $IMCLASS_DATA, ./data and the system's.

    Downloads go to the first of them.
    """
    if root is not None:
        return [Path(root).expanduser()]
    configured = os.environ.get("IMCLASS_DATA")
    return [*([Path(configured).expanduser()] if configured else []), Path("data"), SYSTEM_ROOT]


def is_file(path: Path) -> bool:
    """Return whether it is a file that this user may see."""
    try:
        return path.is_file()
    except OSError:
        return False


def download(config: DatasetConfig, folder: Path, files: Mapping[str, Source]) -> None:
    """Download `files`, by name, into `folder`. One process downloads, under a lock; the others wait.

    Raises UserError saying what is missing, why it was not downloaded, and where to put it.
    """
    try:
        if not config.download:
            raise OSError("dataset.download=false")
        folder.mkdir(parents=True, exist_ok=True)
        for name, source in files.items():
            with locked(folder / f".{name}.lock", required=False):
                if not (folder / name).exists():  # another process may have downloaded it
                    sweep_debris(folder, name)
                    with replacing(folder / name) as temporary:
                        _fetch(source, temporary)
    except OSError as error:
        searched = ", ".join(map(str, data_roots(config.root)))
        raise UserError(
            f"dataset={config.name}: not found in {searched} and not downloaded ({error}); "
            f"put {', '.join(files)} into {folder}, or set dataset.root to the folder that has them"
        ) from error


def _fetch(source: Source, target: Path) -> None:
    """Download from the first URL that works. Raises OSError with the last failure."""
    for url in source.urls:
        try:
            _download(url, target)
            source.verify(target)
        except UserError:
            failure = OSError(f"{url}: the file there has the wrong checksum")
        except (OSError, http.client.HTTPException) as error:
            failure = OSError(f"{url}: {error}")
        else:
            return
    raise failure


def _download(url: str, target: Path) -> None:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALLED_AFTER)
    try:
        torch.hub.download_url_to_file(url, str(target), progress=sys.stderr.isatty())
    finally:
        socket.setdefaulttimeout(before)
