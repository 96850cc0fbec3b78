"""Weights of another training as the first of a new one: its head and its channels may differ."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from imclass.config.setting import show
from imclass.errors import UserError, counted
from imclass.models.from_timm import as_timm_reads, is_timm
from imclass.models.head import find_head
from imclass.models.stem import adapt_channels, first_conv
from imclass.runs.sources import Source
from imclass.runs.weights import require_fit

WRAPPERS = ("module.", "_orig_mod.")  # what DDP and torch.compile put before every name
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # torchvision's heads for training, which we do not build
SHOWN = 3  # class names

Weights = dict[str, Tensor]


def transfer(model: nn.Module, source: Source, classes: tuple[str, ...], head: str) -> list[str]:
    """Load the weights of `source` into `model`, adapted to it; return what was adapted, a line each.

    classes: those of the data. head: `model.head`. Raises UserError for what cannot be adapted, with what to
    type where that is known.
    """
    own = model.state_dict()
    weights = _unwrapped(source.tensors)
    if is_timm(model):
        weights = as_timm_reads(weights, model, str(source.file))
    notes = _drop_auxiliary(weights, own)
    _require_layers(model, weights, own, source)
    notes += _adapt_first_layer(model, weights, own, source)
    notes += _adapt_head(model, weights, own, source, classes, head)
    require_fit(model, weights, str(source.file))
    model.load_state_dict(weights)
    return notes


def _unwrapped(tensors: Mapping[str, Tensor]) -> Weights:
    """Return the weights without what wrappers put before all of their names."""
    weights = dict(tensors)
    for prefix in WRAPPERS:
        if all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights


def _drop_auxiliary(weights: Weights, own: Mapping[str, Any]) -> list[str]:
    names = [name for name in weights if name.startswith(AUXILIARY) and name not in own]
    for name in names:
        del weights[name]
    return ["without its auxiliary heads"] if names else []


def _require_layers(model: nn.Module, weights: Weights, own: Mapping[str, Tensor], source: Source) -> None:
    """Raise UserError where the weights lack layers of the model other than its head."""
    beside = _prefix_of_head(model, find_head(model))
    if all(name in weights for name in own if not name.startswith(beside)):
        return
    if source.model is not None:
        raise UserError(f"model.weights={source.file}: of another model; add model={show(source.model)}")
    require_fit(model, weights, str(source.file))


def _adapt_first_layer(
    model: nn.Module, weights: Weights, own: Mapping[str, Tensor], source: Source
) -> list[str]:
    """Convert the first kernels to the channels of the images. Raises UserError for another stem."""
    name = f"{first_conv(model)}.weight" if any(isinstance(m, nn.Conv2d) for m in model.modules()) else ""
    found = weights.get(name)
    if found is None or found.ndim != 4 or not found.is_floating_point() or found.shape == own[name].shape:
        return []
    theirs, ours = found.shape, own[name].shape
    if theirs[2:] != ours[2:]:
        stem = "imagenet" if theirs[2] > ours[2] else "cifar"
        raise UserError(
            f"model.weights={source.file}: the first convolution is {theirs[2]}x{theirs[3]} there and "
            f"{ours[2]}x{ours[3]} here; add model.stem={stem}"
        )
    if theirs[0] != ours[0]:  # `require_fit` refuses it
        return []
    weights[name] = adapt_channels(found, ours[1])
    how = "summed" if ours[1] == 1 else "repeated in turn"
    return [f"first layer: its {counted(theirs[1], 'channel')} {how} for images of {ours[1]}"]


def _adapt_head(
    model: nn.Module,
    weights: Weights,
    own: Mapping[str, Tensor],
    source: Source,
    classes: tuple[str, ...],
    head: str,
) -> list[str]:
    """Put the model's own head in place of that of `source`, where it is asked for or the classes differ.

    The layers beside the last one go with it where they too are others: VGG has three for large images.
    """
    last, known = find_head(model), source.classes
    there = weights.get(f"{last}.weight")
    if _same_shapes(weights, own, last) and known in (None, classes) and head != "new":
        return []
    count = len(known) if known else (len(there) if there is not None and there.ndim else None)
    why = f"not {count} ({_some(known)})" if known else "" if count is None else f"not {count}"
    if head == "keep":
        raise UserError(
            f"model.head=keep: the last layer in {source.file} is not of these {len(classes)} classes"
            f"{', but of ' + why.removeprefix('not ') if why else ''}; model.head=auto makes a new one"
        )
    beside = _prefix_of_head(model, last)
    for name in [n for n in weights if n.startswith(beside) and not _fits(n, weights, own)]:
        del weights[name]
    for name in [n for n in own if n.startswith(f"{last}.") or (n.startswith(beside) and n not in weights)]:
        weights[name] = own[name]
    return [f"new head: {len(classes)} classes ({_some(classes)}){', ' + why if why else ''}"]


def _prefix_of_head(model: nn.Module, last: str) -> str:
    """Return what the names of the last layer begin with, or those of its container, if it is all head."""
    name, head = last.rpartition(".")[0], model.get_submodule(last)
    parts = [part for path, part in model.get_submodule(name).named_modules() if path]
    nested = any(next(part.children(), None) is not None for part in parts)
    convolutions = any(isinstance(part, nn.Conv2d) and part is not head for part in parts)
    return f"{name}." if name and not nested and not convolutions else f"{last}."


def _same_shapes(weights: Weights, own: Mapping[str, Tensor], layer: str) -> bool:
    names = [name for name in own if name.startswith(f"{layer}.")]
    return all(_fits(name, weights, own) for name in names)


def _fits(name: str, weights: Weights, own: Mapping[str, Tensor]) -> bool:
    return name in own and name in weights and weights[name].shape == own[name].shape


def _some(names: tuple[str, ...]) -> str:
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
