"""Any model of timm (github.com/huggingface/pytorch-image-models), by the name timm/NAME."""

import sys
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from imclass.config.model_names import TIMM, model_problem
from imclass.config.schema import ModelConfig
from imclass.errors import UserError, first_line


def build_timm(config: ModelConfig, in_channels: int, classes: int, size: int) -> nn.Module:
    """(N, in_channels, size, size) -> (N, classes) by timm's `config.name`, with new weights.

    Networks of a fixed size, such as those with attention over patches, are built for `size`.
    """
    if problem := model_problem(config.name):
        raise UserError(f"model.name={config.name}: {problem}")
    if config.pretrained:
        raise UserError(
            f"model.pretrained=true: the weights of {config.name} come from a file: model.weights=FILE"
        )
    if config.stem == "cifar":
        raise UserError(f"model.stem=cifar: {config.name} has only its own stem; use model.stem=auto")
    import timm

    name = config.name.removeprefix(TIMM)
    options: dict[str, Any] = {} if config.dropout is None else {"drop_rate": config.dropout}
    try:
        if getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False):
            options["img_size"] = size
        model: nn.Module = timm.create_model(name, in_chans=in_channels, num_classes=classes, **options)
    except Exception as error:  # each of a thousand models refuses sizes and channels with its own
        shape = f"{in_channels}x{size}x{size}"
        raise UserError(
            f"model.name={config.name}: timm cannot build it for {shape} images ({first_line(error)}); "
            "try dataset.resize=224"
        ) from error
    return model


def is_timm(model: nn.Module) -> bool:
    return type(model).__module__.startswith("timm.")


def as_timm_reads(weights: Mapping[str, Tensor], model: nn.Module, source: str) -> dict[str, Tensor]:
    """Return published weights as timm's own loader would: renamed, position embeddings resized.

    source: their file. Raises UserError naming it where timm cannot read them as weights of this model.
    """
    read = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    try:
        return dict(read(dict(weights), model)) if read else dict(weights)
    except Exception as error:  # whatever reshaping other tensors raises
        raise UserError(
            f"{source}: timm cannot read it as weights of this model ({first_line(error)})"
        ) from error
