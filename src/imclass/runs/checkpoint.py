"""The file of a checkpoint: an ordinary torch zip file that notices a flipped bit.

`torch.load(path, weights_only=True)` reads it. Its zip comment is a JSON header with the step, and the
SHA-256 of both. Writing goes to a temporary file beside the target, which is synced, read back and renamed.
Reading checks the digest before anything is unpickled. When they are written and which is read:
`checkpointer.py`.
"""

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from imclass.config.run_names import user_path
from imclass.errors import UserError
from imclass.runs.atomic import replacing, sync, write_error
from imclass.runs.weights import is_state_dict, load_tensors, open_file, read_weights

State = dict[str, Any]
Header = dict[str, Any]

CHUNK = 2**20
END_RECORD = 22  # bytes of a zip file's last record, before the comment
LENGTH = 2  # bytes of a zip file's field for the length of its comment


class DamagedCheckpoint(UserError):
    """The file is not what was written; the message names it."""


def read_checkpoint(path: Path) -> State:
    """Return the contents of a verified checkpoint, tensors on the CPU, without running code from it.

    Raises DamagedCheckpoint, FileNotFoundError.
    """
    return load_checkpoint(path)[1]


def load_checkpoint(path: Path) -> tuple[Header, State]:
    """Return header and contents of a verified checkpoint. Raises as `read_checkpoint` does."""
    with _verified(path) as (header, file):
        try:
            state = load_tensors(file, path)
        except UserError as error:
            raise DamagedCheckpoint(str(error)) from error
        except Exception as error:  # torch's advice is to run the code in it
            raise DamagedCheckpoint(
                f"{path} is damaged, or not written by imclass: "
                "contains objects other than tensors and plain values"
            ) from error
    if not isinstance(state, dict) or not is_state_dict(state.get("model")):
        raise DamagedCheckpoint(
            f"{path} is damaged, or not written by imclass: no weights under the key 'model'"
        )
    return header, state


def load_best(path: Path) -> tuple[Header, State]:
    """Return header and contents of a `best.pt`. Raises as `read_checkpoint` does."""
    header, state = load_checkpoint(path)
    if is_training_state(state):
        raise DamagedCheckpoint(f"{path} is damaged (it is another file: a training to resume, not a model)")
    return header, state


def is_training_state(state: State) -> bool:
    """Return whether `state` is what training resumes from (`last.pt`), not a model alone (`best.pt`)."""
    return "progress" in state


def require(problem: str | None, source: Path) -> None:
    """Raise DamagedCheckpoint where `record_schema` has found a problem in the file `source`."""
    if problem is not None:
        raise DamagedCheckpoint(f"{source}: not an imclass checkpoint: {problem}")


def read_model_weights(path: str | Path) -> dict[str, Tensor]:
    """Return the weights in a file: of one of our checkpoints, verified, or of any that `read_weights` knows.

    Of ours, those that evaluations used: the average of the weights where the run kept one. Raises what
    `read_checkpoint` and `read_weights` do.
    """
    path = user_path(path)
    if not is_ours(path):
        return read_weights(path)
    return weights_of(read_checkpoint(path))


def weights_of(state: State) -> dict[str, Tensor]:
    """Return the weights of a checkpoint that evaluations used: the average where the run kept one."""
    averages, prefix = state["ema"] if is_state_dict(state.get("ema")) else {}, "module."
    return {k.removeprefix(prefix): v for k, v in averages.items() if k.startswith(prefix)} or state["model"]


def write_checkpoint(
    path: Path, state: State, header: Mapping[str, Any], previous: Path | None = None
) -> None:
    """Replace `path`; what was there becomes `previous`. When this fails, both stay as they were.

    Raises StorageError with the bytes needed and free, UserError where a folder is in the way.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            with temporary.open("wb", buffering=0) as file:
                _write(file, state, header)
                os.fsync(file.fileno())
            try:
                with _verified(temporary):
                    pass
            except DamagedCheckpoint as error:
                raise OSError("the disk does not return what was written") from error
            if previous is not None and path.exists():
                _become(path, previous)
        sync(path.parent)
    except OSError as error:
        with Path(os.devnull).open("wb", buffering=0) as nowhere:
            needed = _write(nowhere, state, header)
        raise write_error(path, needed, error, advice="") from error


def _become(path: Path, previous: Path) -> None:
    """Give a file the name `previous` too, so that one of its names is there at any moment."""
    try:
        with replacing(previous) as link:
            link.hardlink_to(path)
    except OSError:  # the file system has no links
        path.replace(previous)


def _write(raw: BinaryIO, state: State, header: Mapping[str, Any]) -> int:
    """Write `state` with the header and the digest of both as the zip file's comment; return the bytes."""
    file = HashedFile(raw)
    torch.save(state, cast(BinaryIO, file))
    text = json.dumps({"sha256": file.digest(header), "header": dict(header)}).encode()
    file.raise_if_failed()
    raw.seek(file.size - LENGTH)
    _write_all(raw, len(text).to_bytes(LENGTH, "little") + text)
    return file.size + len(text)


class HashedFile:
    """What `torch.save` writes to: an unbuffered file, hashed on the way.

    torch hides a failed write behind an error of its own, so it does not get to know of one.
    """

    def __init__(self, raw: BinaryIO):
        self.raw, self.size = raw, 0
        self._sha256 = hashlib.sha256()
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        self.size += len(data)
        if self._error is None:
            try:
                _write_all(self.raw, data)
            except OSError as error:
                self._error = error
        return len(data)

    def flush(self) -> None:
        """Nothing is buffered."""

    def digest(self, header: Mapping[str, Any]) -> str:
        return _digest(self._sha256, header)

    def raise_if_failed(self) -> None:
        """Raise the OSError of the first write that failed."""
        if self._error is not None:
            raise self._error


def _write_all(raw: BinaryIO, data: bytes) -> None:
    """Write to an unbuffered file, which may take a part at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[raw.write(rest) :]


@contextlib.contextmanager
def _verified(path: Path) -> Iterator[tuple[Header, BinaryIO]]:
    """Open a checkpoint whose digest is right; yield header and file."""
    with open_file(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                written = json.loads(archive.comment)
                length = len(archive.comment)
            header, size = written["header"], file.seek(0, os.SEEK_END)
            if not isinstance(header, dict):
                raise TypeError
            sha256, field = _sha256_of(file, size - length - LENGTH)
            found = field, written["sha256"]
            intact = found == (length.to_bytes(LENGTH, "little"), _digest(sha256, header))
        except OSError as error:
            raise DamagedCheckpoint(f"{path} is damaged: {error.strerror or error}") from error
        except Exception:  # zipfile has no common class for what it stumbles over
            raise DamagedCheckpoint(f"{path} is damaged (truncated, or not an imclass checkpoint)") from None
        if not intact:
            raise DamagedCheckpoint(f"{path} is damaged (its SHA-256 does not match)")
        file.seek(0)
        yield header, file


def _sha256_of(file: BinaryIO, size: int) -> tuple[Any, bytes]:
    """Hash the first `size` bytes and an empty length of the comment; return the length that is there too."""
    sha256, rest = hashlib.sha256(), size
    buffer = memoryview(bytearray(CHUNK))
    file.seek(0)
    while rest > 0 and (count := file.readinto(buffer[: min(CHUNK, rest)])):  # type: ignore[attr-defined]
        sha256.update(buffer[:count])
        rest -= count
    sha256.update(bytes(LENGTH))
    return sha256, file.read(LENGTH)


def _digest(sha256: Any, header: Mapping[str, Any]) -> str:
    """Return the digest of a file with its header. sha256: of the file with an empty comment."""
    sha256 = sha256.copy()
    sha256.update(json.dumps(dict(header)).encode())
    return sha256.hexdigest()


def is_ours(path: Path) -> bool:
    """Return whether a file is a zip file that does not end as those of torch do: without a comment.

    So too where damage has made the comment illegible.
    """
    with open_file(path) as file:
        is_zip = file.read(4) == b"PK\3\4"
        if not is_zip or file.seek(0, os.SEEK_END) < END_RECORD:
            return False
        file.seek(-END_RECORD, os.SEEK_END)
        return file.read(4) != b"PK\5\6"
