"""Weights in files: reading and writing them, and loading them with an error that names the differences.

A .safetensors file of ours has a SHA-256 in its metadata, of all that is in it but the SHA-256 itself. It is
checked whenever we read one; the files of others have none, and other readers need not know.
"""

import hashlib
import json
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from imclass.config.run_names import user_path
from imclass.config.setting import show
from imclass.errors import UserError
from imclass.runs.atomic import write_atomically
from imclass.runs.regular import open_regular

STATE_DICT = ("model", "state_dict", "model_state_dict")  # where training programs keep one
SHOWN = 3  # names per kind of difference; a wrong architecture differs in hundreds
DIGEST = "imclass.sha256"  # the key of the digest in the metadata
MARK = "imclass.checked"  # a second key: no flipped bit makes a file of ours look like one of others
LENGTH = 8  # bytes of a .safetensors file's field for the length of its header
MAX_HEADER = 5_000_000  # bytes; safetensors has 100 MB, which parsed take gigabytes


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading. Raises FileNotFoundError; UserError for anything else in its way."""
    try:
        return open_regular(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def read_weights(path: str | Path, *, digest_required: bool = False) -> dict[str, Tensor]:
    """Read a state dict onto the CPU.

    path: a .safetensors file, whose digest is checked if it has one, or a torch file that holds a state dict
    or a dict with one under a key of `STATE_DICT`. Nothing but tensors and plain values is unpickled.
    digest_required: whether to raise UserError for a .safetensors file without a digest, too.
    """
    path = user_path(path)
    try:
        with open_file(path) as file:
            if path.suffix == ".safetensors":
                data = file.read()
                _check_digest(data, path, required=digest_required)
                return load(data)
            content = load_tensors(file, path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file of weights") from error
    except UserError:
        raise
    except Exception as error:  # pickle, zip, torch and safetensors each have their own; torch's give advice
        raise UserError(
            f"{path}: cannot be read as weights: damaged, or not a file of tensors and plain values"
        ) from error
    inside = [content.get(key) for key in STATE_DICT] if isinstance(content, Mapping) else []
    found = next((part for part in inside if isinstance(part, Mapping)), content)
    if not is_state_dict(found):
        raise UserError(
            f"{path}: holds no state dict, neither at the top nor under {' or '.join(STATE_DICT)}"
        )
    return dict(found)


def load_tensors(file: BinaryIO, path: Path) -> Any:
    """Return what a torch file holds: ordinary tensors on the CPU, and plain values.

    Raises UserError for a bomb and for other tensors, and whatever torch does.
    """
    refuse_bomb(file, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sparse tensors, which are refused
        content = torch.load(file, map_location="cpu", weights_only=True)
    refuse_odd_tensors(content, path)
    return content


def refuse_bomb(file: BinaryIO, path: Path) -> None:
    """Raise UserError for a zip file that is larger inside than outside; torch compresses nothing."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            inside = sum(entry.file_size for entry in archive.infolist())
        if inside > path.stat().st_size:
            raise UserError(f"{path}: refused: {inside:,} bytes are compressed in it")
    file.seek(0)


def refuse_odd_tensors(content: Any, path: Path) -> None:
    """Raise UserError for a tensor that is not strided, on the CPU and whole: in its storage from end to end.

    Fused kernels write to all elements from the first one on, whatever the strides.
    """
    for name, tensor in tensors_in(content):
        if not _is_whole(tensor):
            raise UserError(f"{path}: refused: {show(name)} is not an ordinary tensor with all of its values")


def _is_whole(tensor: Tensor) -> bool:
    if tensor.layout != torch.strided or tensor.is_nested or tensor.device.type != "cpu":
        return False
    end = (tensor.storage_offset() + tensor.numel()) * tensor.element_size()
    return tensor.numel() == 0 or bool(end <= tensor.untyped_storage().nbytes())


def tensors_in(tree: Any, name: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors of nested dicts and lists, with their keys joined by dots.

    seen: identities of what was visited: a few bytes of pickle can refer to one list a billion times.
    """
    seen = set() if seen is None else seen
    if isinstance(tree, Tensor):
        yield name, tree
    elif isinstance(tree, Mapping | list | tuple) and id(tree) not in seen:
        seen.add(id(tree))
        items = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
        for key, value in items:
            yield from tensors_in(value, f"{name}.{key}" if name else str(key), seen)


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Replace a .safetensors file by `tensors`, with `metadata` and a digest of both. Raises StorageError."""
    data = memoryview(save({k: t.contiguous() for k, t in tensors.items()}, {**metadata, MARK: DIGEST}))
    size = int.from_bytes(data[:LENGTH], "little")
    header, values = json.loads(bytes(data[LENGTH : LENGTH + size])), data[LENGTH + size :]
    header["__metadata__"][DIGEST] = _digest(header, [values])
    text = json.dumps(header, ensure_ascii=False).encode()  # no escapes, which can be written in two ways
    text += b" " * (-len(text) % 8)  # aligns the tensors
    write_atomically(path, len(text).to_bytes(LENGTH, "little"), text, values)


def _check_digest(data: bytes, path: Path, *, required: bool) -> None:
    """Raise UserError if the digest in a .safetensors file does not match, ValueError without a header."""
    size = int.from_bytes(data[:LENGTH], "little")
    header = json.loads(data[LENGTH : LENGTH + size]) if size <= MAX_HEADER else None
    if not isinstance(header, dict):
        raise ValueError("no header of safetensors")
    metadata = header.get("__metadata__", {})
    if not {DIGEST, MARK} & metadata.keys():  # by others, or by imclass 0.1
        if required:
            raise UserError(
                f"{path}: not verifiable: it has no SHA-256; delete it and repeat the run's "
                "command, which writes it anew"
            )
        return
    written = metadata.pop(DIGEST, None)
    if written != _digest(header, [memoryview(data)[LENGTH + size :]]):
        raise UserError(f"{path} is damaged (its SHA-256 does not match)")


def _digest(header: Mapping[str, Any], values: Iterable[bytes | memoryview]) -> str:
    """Return the SHA-256 of a header without its digest, as JSON with sorted keys, and of all values."""
    sha256 = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for part in values:
        sha256.update(part)
    return sha256.hexdigest()


def load_weights(model: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    """Load `state_dict` into `model`. Raises what `require_fit` does."""
    require_fit(model, state_dict, source)
    model.load_state_dict(state_dict)


def require_fit(model: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    """Raise UserError unless `state_dict` has the model's names, shapes and kinds of values.

    source: what the message names, a file usually.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in state_dict]
    unexpected = [name for name in state_dict if name not in own]
    shapes = [
        f"{name} {_size(state_dict[name])} instead of {_size(tensor)}"
        for name, tensor in own.items()
        if name in state_dict and state_dict[name].shape != tensor.shape
    ]
    types = [
        f"{name} {state_dict[name].dtype} instead of {tensor.dtype}"
        for name, tensor in own.items()
        if name in state_dict and _kind(state_dict[name]) != _kind(tensor)
    ]
    kinds = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": shapes,
        "of another type": types,
    }
    problems = [f"{kind}: {_some(entries)}" for kind, entries in kinds.items() if entries]
    if problems:
        raise UserError(f"{source}: the weights do not fit the model; {'; '.join(problems)}")


def is_state_dict(content: Any) -> bool:
    """Return whether `content` maps names to tensors, and is not empty."""
    return isinstance(content, Mapping) and bool(content) and all(map(_is_entry, content.items()))


def _is_entry(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)


def _kind(tensor: Tensor) -> str:
    """Return the kind of a tensor's values; within a kind they may be converted."""
    integer = not (tensor.is_complex() or tensor.is_quantized or tensor.dtype == torch.bool)
    return "floating" if tensor.is_floating_point() else "integer" if integer else str(tensor.dtype)


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _some(entries: Iterable[str]) -> str:
    """Join the first few entries and count the rest."""
    entries = list(entries)
    rest = len(entries) - SHOWN
    return ", ".join(entries[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
