"""Checkpoints that survive a kill at any instant and notice a flipped bit.

The rule of resuming: a checkpoint is a dict of `state_dict`s, and everything random is a function of
(seed, step). So a resumed run is: build the same objects, load the newest checkpoint that verifies,
cut the logs back to where they were when it was written, go on at its step.

A file is an ordinary torch zip file, which `torch.load(path, weights_only=True)` reads; its zip comment
is a JSON header with the step, and the SHA-256 of both. A save writes a temporary file beside
the target, syncs it, reads it back, and renames; the previous `last.pt` is kept as `previous.pt`.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from imclass.errors import StorageError, UserError
from imclass.runs.atomic import replacing, sync
from imclass.runs.weights import read_weights

State = dict[str, Any]


class DamagedCheckpoint(UserError):
    """The file is not what was written; the message names it."""


class Checkpointer:
    """Writes the checkpoints of one run: `last.pt`, `previous.pt` and `best.pt` in its folder.

    header: in the header of every file, how its numbers were computed. about: in every file, what is needed
    to use it without the run. Unless `enabled`, nothing is written: rank 0 writes for all.
    """

    def __init__(
        self,
        folder: Path,
        header: Mapping[str, Any] | None = None,
        about: Mapping[str, Any] | None = None,
        *,
        enabled: bool = True,
    ):
        self.last, self.previous, self.best = (folder / f"{n}.pt" for n in ("last", "previous", "best"))
        self._header, self._about, self._enabled = dict(header or {}), dict(about or {}), enabled

    def save_last(self, state: State, header: Mapping[str, Any]) -> None:
        """Write `last.pt`; what was there becomes `previous.pt`, so that two are always complete.

        Raises StorageError when the disk does not take it; the files that were there stay.
        """
        self._save(self.last, state, header, previous=self.previous)

    def save_best(self, state: State, header: Mapping[str, Any]) -> None:
        """Write `best.pt`. Raises StorageError."""
        self._save(self.best, state, header)

    def _save(
        self, target: Path, state: State, header: Mapping[str, Any], previous: Path | None = None
    ) -> None:
        if self._enabled:
            _save(target, {**state, "about": self._about}, {**self._header, **header}, previous)


def newest_checkpoint(folder: Path) -> tuple[State, dict[str, Any], list[str]]:
    """Return state and header of the newest checkpoint that verifies, and warnings about others.

    Newest is the highest step in a verified header, never the file's time or name. A damaged file is
    put aside as `damaged-...`, so that it never takes the place of a good one. A run without checkpoints has
    an empty state and header. Raises UserError when there are checkpoints but all are damaged.
    """
    found: list[tuple[dict[str, Any], Path]] = []
    damaged: list[Path] = []
    warnings: list[str] = []
    for path in (folder / "last.pt", folder / "previous.pt"):
        if path.exists():
            try:
                found.append((read_header(path), path))
            except DamagedCheckpoint as error:
                damaged.append(path)
                warnings.append(str(error))
    if not found and damaged:
        raise UserError(f"{'; '.join(warnings)}: no checkpoint is left to resume from; choose another name=")
    if not found:
        return {}, {}, []
    for path in damaged:
        path.replace(path.with_name(f"damaged-{path.name}"))
    header, path = max(found, key=lambda item: item[0]["step"])
    if damaged:
        warnings.append(f"falling back to {path}, step {header['step']}")
    return read_checkpoint(path), header, warnings


def read_header(path: Path) -> dict[str, Any]:
    """Return the header of a checkpoint after checking the digest of its contents.

    Raises DamagedCheckpoint.
    """
    return _verify(path)[0]


def read_checkpoint(path: Path) -> State:
    """Return the contents of a verified checkpoint, tensors on the CPU, without running code from it.

    Raises DamagedCheckpoint.
    """
    _, payload = _verify(path)
    return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)


def read_model_weights(path: str | Path) -> dict[str, Tensor]:
    """Return the weights in a file: of one of our checkpoints, verified, or of any that `read_weights` knows.

    Of ours, those that evaluations used: the average of the weights where the run kept one.

    Raises DamagedCheckpoint, and whatever `read_weights` does.
    """
    path = Path(path).expanduser()
    if not _is_ours(path):
        return read_weights(path)
    state, prefix = read_checkpoint(path), "module."
    average = {k.removeprefix(prefix): v for k, v in state.get("ema", {}).items() if k.startswith(prefix)}
    return average or state["model"]


def _is_ours(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.comment.startswith(b'{"sha256"')
    except (OSError, zipfile.BadZipFile, NotImplementedError):
        return False


def _save(target: Path, state: State, header: Mapping[str, Any], previous: Path | None = None) -> None:
    """Write a temporary file beside `target`, sync it, read it back, rename it, sync the folder."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = _with_comment(buffer.getvalue(), header)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            temporary.write_bytes(data)
            sync(temporary)
            if temporary.read_bytes() != data:
                raise OSError("the disk does not return what was written")
            if previous is not None and target.exists():
                target.replace(previous)
        sync(target.parent)
    except OSError as error:
        raise StorageError(
            f"{target}: {len(data):,} bytes cannot be written ({error.strerror or error}); the last good "
            "checkpoint is kept: make room, and the same command resumes from it"
        ) from error


def _with_comment(payload: bytes, header: Mapping[str, Any]) -> bytes:
    """Return the zip file `payload` with the header, and the digest of both, as the archive's comment."""
    assert payload[-2:] == b"\0\0", "torch.save ended the zip file with a comment"
    text = json.dumps({"sha256": _digest(payload, header), "header": dict(header)}).encode()
    return payload[:-2] + len(text).to_bytes(2, "little") + text


def _digest(payload: bytes, header: Mapping[str, Any]) -> str:
    return hashlib.sha256(payload + json.dumps(dict(header)).encode()).hexdigest()


def _verify(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return header and payload of a file whose digest is right."""
    data = path.read_bytes()
    try:
        comment = zipfile.ZipFile(io.BytesIO(data)).comment
        written = json.loads(comment)
        header, payload = written["header"], data[: -len(comment) - 2] + b"\0\0"
        length = int.from_bytes(data[: -len(comment)][-2:], "little")
        intact = length == len(comment) and written["sha256"] == _digest(payload, header)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpoint(f"{path} is damaged ({error})") from error
    if not intact:
        raise DamagedCheckpoint(f"{path} is damaged (its SHA-256 does not match)")
    return header, payload
