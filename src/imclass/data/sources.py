"""Where data files are looked for, and how missing ones are fetched."""

import http.client
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch.hub

from imclass.errors import UserError
from imclass.runs.atomic import replacing, sweep_debris
from imclass.runs.locks import locked

SYSTEM_ROOT = Path("/usr/share/datasets")  # where Debian's packages put theirs
STALLED_AFTER = 30  # seconds without a byte before a download is given up


def data_roots(root: str | None) -> list[Path]:
    """Return the folders to search: `root` alone if given, else $IMCLASS_DATA, ./data, the system's."""
    if root is not None:
        return [Path(root).expanduser()]
    return [*_default_roots(), SYSTEM_ROOT]


def download_root(root: str | None) -> Path:
    """Return the folder that downloads go to: the first of `data_roots`."""
    return data_roots(root)[0]


def _default_roots() -> list[Path]:
    configured = os.environ.get("IMCLASS_DATA")
    return [*([Path(configured).expanduser()] if configured else []), Path("data")]


def is_file(path: Path) -> bool:
    """Like `Path.is_file`, but False where this user may not look."""
    try:
        return path.is_file()
    except OSError:
        return False


def fetch(urls: Sequence[str], target: Path, verify: Callable[[Path], object]) -> None:
    """Download `target` from the first of `urls` that works; `verify` raises on wrong contents.

    One process downloads, under a lock; the others wait. Raises OSError with the last failure.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(f".{target.name}.lock"), required=False):
        if target.exists():
            return  # another process has downloaded it
        sweep_debris(target.parent, target.name)
        with replacing(target) as temporary:
            _download_verified(urls, temporary, verify)


def _download_verified(urls: Sequence[str], target: Path, verify: Callable[[Path], object]) -> None:
    for url in urls:
        try:
            _download(url, target)
            verify(target)
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


def not_found(name: str, root: str | None, files: Sequence[str], folder: Path, reason: object) -> UserError:
    """Return the one line that says what is missing, why it was not fetched and where to put it."""
    searched = ", ".join(str(path) for path in data_roots(root))
    return UserError(
        f"dataset={name}: not found in {searched} and not downloaded ({reason}); "
        f"put {', '.join(files)} into {folder}, or set dataset.root to the folder that has them"
    )
