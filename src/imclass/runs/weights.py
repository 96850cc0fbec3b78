"""Starting weights from a file: reading them, and loading them with an error that says what differs."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from imclass.errors import UserError, first_line

SHOWN = 3  # names per kind of difference; a wrong architecture differs in hundreds


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict onto the CPU.

    path: a .safetensors file, or a torch file that holds a state dict or a dict with one under
    "model" (our checkpoints). Nothing but tensors and plain values is unpickled.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"{path}: no such file of weights")
    try:
        if path.suffix == ".safetensors":
            return load_file(path, device="cpu")
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip, torch and safetensors each have their own
        reason = first_line(error)
        raise UserError(f"{path}: cannot be read as weights ({reason})") from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not content or not all(map(_is_entry, content.items())):
        raise UserError(f"{path}: holds no state dict, neither at the top nor under the key 'model'")
    return dict(content)


def load_weights(model: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    """Load `state_dict` into `model`; all names and shapes must agree.

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
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    problems = [f"{kind}: {_some(entries)}" for kind, entries in kinds.items() if entries]
    if problems:
        raise UserError(f"{source}: the weights do not fit the model; {'; '.join(problems)}")
    model.load_state_dict(state_dict)


def _is_entry(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _some(entries: Iterable[str]) -> str:
    """Join the first few entries and count the rest."""
    entries = list(entries)
    rest = len(entries) - SHOWN
    return ", ".join(entries[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
