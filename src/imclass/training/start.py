"""The network that a training starts with: new weights, those of a file, or none yet where it is resumed."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from imclass.config.run_names import weights_file
from imclass.config.schema import Config, ModelConfig
from imclass.data.augment import normalize
from imclass.data.dataset import Data, centre_of
from imclass.errors import UserError
from imclass.models import InitFromImages, build_model, build_trained_model
from imclass.models.from_timm import is_timm
from imclass.models.transfer import transfer
from imclass.runs.sources import Source, read_source

IMAGES_FOR_INIT = 500
SHOWN = 3  # names of frozen blocks


def build_network(config: Config, data: Data, *, resumed: bool) -> tuple[nn.Module, list[str]]:
    """Build the model for the data's channels, size and classes, and load the weights it starts from.

    Also returns the header's lines on these weights. resumed: a checkpoint brings all weights next; none are
    downloaded or read here.
    """
    channels, size, _ = data.shape
    build = build_trained_model if resumed else build_model
    model = build(config.model, in_channels=channels, classes=len(data.classes), size=size)
    named = None if resumed else config.model.weights
    file = starting_weights(config.model) if named else None
    adapted: list[str] = []
    sizes: list[str] = []
    if file is not None:
        source = read_source(file)
        adapted = transfer(model, source, data.classes, config.model.head)
        sizes = _lines_on_size(str(named), source, data.shape)
    elif not (resumed or config.model.pretrained) and isinstance(model, InitFromImages):
        count = min(len(data.train), IMAGES_FOR_INIT)
        chosen = torch.linspace(0, len(data.train) - 1, count).long()  # a folder's stand class by class
        images = centre_of(data.train.take(chosen), config.dataset.centre, data.shape[1:])
        model.init_from(normalize(images, torch.tensor(data.mean), torch.tensor(data.std)))
    return model, [*_lines_on_weights(named, file, adapted), *sizes] if named else []


def starting_weights(config: ModelConfig) -> Path | None:
    """Return the file that model.weights names, or None where it may be missing and is: then they are new."""
    if config.weights is None:
        return None
    try:
        return weights_file(config.weights)
    except UserError:
        if config.weights_required:
            raise
        return None


def _lines_on_weights(named: str, file: Path | None, adapted: Sequence[str]) -> list[str]:
    """Return the header's lines on `model.weights`. adapted: what `transfer` returns."""
    first = f"weights  from {file}" if file else f"weights  new ones; {named}: no such file or run"
    return [first, *(f"         {line}" for line in adapted)]


def _lines_on_size(named: str, source: Source, shape: tuple[int, int, int]) -> list[str]:
    """Return a warning where the weights were trained on images of another size.

    shape: of the images that the network sees.
    """
    if source.shape is None or source.shape[1:] == shape[1:]:
        return []
    (_, height, width), (_, high, wide) = source.shape, shape
    advice = f"; type dataset.resize={height}" if height == width else ""
    there, here = f"{height}x{width} images", f"{high}x{wide}"
    return [f"warning: model.weights={named} was trained on {there}, here they are {here}{advice}"]


def lines_on_frozen(config: ModelConfig, model: nn.Module, frozen: Sequence[str]) -> list[str]:
    """Return the header's lines on what is not trained. frozen: what `freeze` returns."""
    if not frozen:
        return []
    drops = is_timm(model) or any(isinstance(part, nn.Dropout) and part.training for part in model.modules())
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    names = ", ".join(frozen) if len(frozen) <= SHOWN else f"{frozen[0]} to {frozen[-1]}"
    return [
        f"frozen   {names}; {trained:,} of {total:,} parameters are trained",
        *(
            []
            if drops or not config.dropout
            else ["         model.dropout has no effect: its layer is frozen"]
        ),
    ]
