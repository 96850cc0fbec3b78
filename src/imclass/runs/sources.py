"""Weights that a new training starts from, with what their file says of where they come from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open
from torch import Tensor

from imclass.errors import UserError
from imclass.runs.checkpoint import is_ours, read_checkpoint, weights_of
from imclass.runs.weights import read_weights

Tensors = Mapping[str, Tensor]


class Source(NamedTuple):
    """The weights in a file. classes: their names, where one of our runs wrote it."""

    file: Path
    tensors: Tensors
    classes: tuple[str, ...] | None


def read_source(path: Path) -> Source:
    """Read the weights in a file: a checkpoint or a .safetensors of ours, or a state dict of others.

    Of a checkpoint, the weights that evaluations used. Raises UserError.
    """
    if path.suffix != ".safetensors" and is_ours(path):
        state = read_checkpoint(path)
        about = state.get("about")
        classes = about.get("classes") if isinstance(about, Mapping) else None
        return Source(path, weights_of(state), _names(classes))
    tensors = read_weights(path)
    if path.suffix != ".safetensors":
        return Source(path, tensors, None)
    with safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get("classes", "null")
    try:
        return Source(path, tensors, _names(json.loads(text)))
    except ValueError as error:
        raise UserError(f"{path}: cannot be read as weights: `classes` in its metadata is no JSON") from error


def _names(value: Any) -> tuple[str, ...] | None:
    """Return a list of names, None for anything else."""
    named = isinstance(value, list) and all(isinstance(name, str) for name in value)
    return tuple(value) if named else None
