"""Weights & Biases."""

import contextlib
import netrc
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from imclass.errors import EXIT_INTERRUPTED, UserError
from imclass.runs.records import Record
from imclass.runs.trackers import Ids, Tracker

_HOST = "https://api.wandb.ai"


class WandbRun(Tracker):
    """A run in $WANDB_PROJECT, or in the project imclass; offline without an API key, or with WANDB_MODE.

    Online, points up to the service's last step are not sent again. An offline session begins the
    series anew, and replaces those before: `wandb sync` uploads the last one, which has all points.
    """

    def __init__(self, folder: Path, ids: Ids, settings: Mapping[str, Any]):
        import wandb

        if (folder / "wandb").is_symlink():
            raise UserError(f"{folder / 'wandb'}: a link; a run folder holds its own folders")
        number = ids["wandb"] or secrets.token_hex(4)
        ids["wandb"] = number
        offline = os.environ.get("WANDB_MODE", "online" if _has_key() else "offline") == "offline"
        earlier = list(folder.glob(f"wandb/offline-run-*-{number}")) if offline else []
        quiet: dict[str, Any] = {"console": "off", "silent": True, "disable_git": True, "disable_code": True}
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "imclass"),
            id=number,
            name=folder.name,
            dir=folder,
            config=dict(settings),
            resume=None if offline else "allow",
            mode="offline" if offline else None,
            settings=wandb.Settings(**quiet, x_save_requirements=False),
        )
        self._from = self._run.step
        self.where = (
            f"offline; to upload: wandb sync {Path(self._run.dir).parent}" if offline else str(self._run.url)
        )
        for session in earlier:
            shutil.rmtree(session, ignore_errors=True)

    def points(self, records: Iterable[Record]) -> None:
        for record in records:
            if record["step"] >= self._from:
                self._run.log({**figures_of(record), "epoch": record["epoch"]}, step=record["step"])

    def plots(self, files: Iterable[Path], step: int) -> None:
        from wandb import Image

        self._run.log({f"plots/{file.stem}": Image(str(file)) for file in files}, step=step)

    def figures(self, figures: Mapping[str, float], step: int) -> None:
        self._run.summary.update(dict(figures))

    def close(self, status: str) -> None:
        if status == "interrupted":
            self._run.mark_preempting()
        codes = {"finished": 0, "interrupted": EXIT_INTERRUPTED}
        self._run.finish(exit_code=codes.get(status, 1))


def figures_of(record: Record) -> dict[str, float]:
    """Return the figures of a point by their names in TensorBoard: {"val/loss": 0.3, ...}."""
    position = ("step", "epoch", "split", "images")
    return {f"{record['split']}/{k}": v for k, v in record.items() if k not in position and v is not None}


def _has_key() -> bool:
    """Return whether wandb finds an API key: it would ask for one on the terminal otherwise."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", _HOST)).hostname or ""
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        file = os.environ.get("NETRC") or Path("~/.netrc").expanduser()
        return netrc.netrc(file).authenticators(host) is not None
    return False
