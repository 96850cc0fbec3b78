"""Where data files are looked for, and how missing ones are downloaded."""

import http.client
import os
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from imclass.config.run_names import user_path
from imclass.config.schema import DatasetConfig
from imclass.errors import UserError
from imclass.runs.atomic import replacing, sweep_debris
from imclass.runs.locks import locked

SYSTEM_ROOT = Path("/usr/share/datasets")  # where Debian's packages put theirs
REMEDY = "delete it to have it fetched again"  # advice about a damaged file
CHUNK = 1 << 18  # bytes that a download reads at once
STALLED_AFTER = 30  # seconds without a byte before a download is given up
SLOWEST, PATIENCE = 1 << 10, 60  # bytes a second, in any that many seconds, before it is given up too


class Source(NamedTuple):
    """Where a file is downloaded from. verify: raises UserError on wrong contents."""

    urls: Sequence[str]
    largest: int  # bytes
    verify: Callable[[Path], object]


def data_roots(root: str | None) -> list[Path]:
    """Return the folders to search: `root` if given, else $IMCLASS_DATA, ./data and the system's.

    Downloads go to the first of them.
    """
    if root is not None:
        return [user_path(root)]
    configured = os.environ.get("IMCLASS_DATA")
    return [*([user_path(configured)] if configured else []), Path("data"), SYSTEM_ROOT]


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
                if os.path.lexists(folder / name) and not is_file(folder / name):
                    raise UserError(f"{folder / name}: not a regular file; remove it")
                if not is_file(folder / name):  # another process may have downloaded it
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
            _download(url, target, source.largest)
            source.verify(target)
        except UserError:
            failure = OSError(f"{url}: the file there has the wrong checksum")
        except (OSError, http.client.HTTPException) as error:
            failure = OSError(f"{url}: {error}")
        else:
            return
    raise failure


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirections to https; another scheme could be read, and changed, on the way."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _require_https(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_https(url: str) -> None:
    if not url.startswith("https://"):
        raise OSError(f"{url}: only https is trusted")


def _download(url: str, target: Path, largest: int) -> None:
    """Write what an https URL delivers to `target`. Raises OSError, also if it drips or is cut."""
    _require_https(url)
    request = urllib.request.Request(url, headers={"User-Agent": "imclass"})
    with (
        urllib.request.build_opener(_HttpsOnly).open(request, timeout=STALLED_AFTER) as response,
        target.open("wb") as file,
    ):
        total = response.length  # None where the server announces none
        since, had = time.monotonic(), 0
        with tqdm(
            total=total, unit="B", unit_scale=True, leave=False, disable=not sys.stderr.isatty()
        ) as bar:
            while chunk := response.read1(CHUNK):  # what has arrived: `read` would wait for all of it
                if file.tell() + len(chunk) > largest:
                    raise OSError(f"more than the {largest:,} bytes that were expected")
                file.write(chunk)
                bar.update(len(chunk))
                if (now := time.monotonic()) - since > PATIENCE:
                    if file.tell() - had < SLOWEST * PATIENCE:
                        raise OSError(f"slower than {SLOWEST:,} bytes a second")
                    since, had = now, file.tell()
        if total is not None and file.tell() != total:
            raise OSError(f"cut short: {file.tell():,} of {total:,} bytes")
