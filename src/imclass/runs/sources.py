"""Weights that a new training starts from, with what their file says of where they come from."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open
from torch import Tensor

from imclass.config.yaml_file import parse_yaml
from imclass.errors import UserError
from imclass.runs.checkpoint import is_ours, read_checkpoint, weights_of
from imclass.runs.weights import read_weights

Tensors = Mapping[str, Tensor]


class Source(NamedTuple):
    """The weights in a file; where a run of ours wrote it, also its model, classes and images."""

    file: Path
    tensors: Tensors
    classes: tuple[str, ...] | None = None
    model: str | None = None  # model.name
    shape: tuple[int, ...] | None = None  # of the images that the network saw: channels, height, width


def read_source(path: Path) -> Source:
    """Read the weights in a file: a checkpoint or a .safetensors of ours, or a state dict of others.

    Of a checkpoint, the weights that evaluations used. Raises UserError.
    """
    if path.suffix == ".safetensors":
        tensors = read_weights(path)
        with safe_open(path, "pt") as file:
            about: Any = file.metadata() or {}
        classes, shape = _parsed(about.get("classes", "null"), "classes", path), None
        with contextlib.suppress(UserError):  # of other programs, too; only a warning depends on it
            shape = _parsed(about.get("shape", "null"), "shape", path)
    elif is_ours(path):
        state = read_checkpoint(path)
        tensors, about = weights_of(state), state.get("about")
        about = about if isinstance(about, Mapping) else {}
        classes, shape = about.get("classes"), about.get("shape")
    else:
        return Source(path, read_weights(path))
    return Source(path, tensors, _names(classes), _model(about.get("config"), path), _sides(shape))


def _parsed(text: str, key: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as weights: `{key}` in its metadata is no JSON") from error


def _names(value: Any) -> tuple[str, ...] | None:
    """Return the names of a list as a tuple, None for anything else."""
    named = isinstance(value, list) and all(isinstance(name, str) for name in value)
    return tuple(value) if named else None


def _sides(value: Any) -> tuple[int, ...] | None:
    """Return the three whole numbers of a list as a tuple, None for anything else."""
    shaped = isinstance(value, list) and len(value) == 3 and all(type(side) is int for side in value)
    return tuple(value) if shaped else None


def _model(config: Any, path: Path) -> str | None:
    """Return model.name of a configuration in YAML, None where there is none."""
    settings = parse_yaml(config, f"{path}: config") if isinstance(config, str) else None
    model = settings.get("model") if isinstance(settings, dict) else None
    name = model.get("name") if isinstance(model, dict) else None
    return name if isinstance(name, str) else None
