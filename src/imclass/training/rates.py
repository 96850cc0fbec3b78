"""Lower learning rates below the head: one fraction for all of them, one factor from block to block."""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.optim import Optimizer

from imclass.config.schema import OptimizerConfig
from imclass.models.blocks import block_numbers, labels_of
from imclass.models.head import find_head


def block_scales(config: OptimizerConfig, blocks: int) -> list[float]:
    """Return what the learning rate of each block is multiplied by, the head's factor of 1 last.

    blocks: their number before the head. The last of them has one factor of `layer_decay`, the one before
    two, and so on (Clark et al. 2020, arXiv:2003.10555, section 3.1).
    """
    decay, scale = config.layer_decay, config.backbone_lr_scale
    return [scale * decay ** (blocks - number) for number in range(blocks)] + [1.0]


def lines_on_rates(model: nn.Module, config: OptimizerConfig) -> list[str]:
    """Return the header's line on the learning rates of blocks, where they differ."""
    if not _differ(config):
        return []
    labels = [*labels_of(model), find_head(model)]
    rates = [config.lr] * len(labels)
    if config.name == "muon" and config.adamw_lr is not None:
        rates[0] = rates[-1] = config.adamw_lr  # of the first and the last kernel
    rates = [r * scale for r, scale in zip(rates, block_scales(config, len(labels) - 1), strict=True)]
    text = f"{rates[-1]:.3g} in {labels[-1]}, {rates[-2]:.3g} in {labels[-2]}"
    return [f"rates    {text}" + (f", down to {rates[0]:.3g} in {labels[0]}" if len(rates) > 2 else "")]


def _differ(config: OptimizerConfig) -> bool:
    return config.layer_decay != 1 or config.backbone_lr_scale != 1


def scale_rates(optimizer: Optimizer, model: nn.Module, config: OptimizerConfig) -> None:
    """Split the groups of a new optimizer by the blocks of the model, each with its own learning rate.

    The parts of a group follow each other, the block next to the head first: the first group's rate is what
    is logged. Nothing changes where all rates are equal.
    """
    if not _differ(config):
        return
    numbers = block_numbers(model)
    scales = block_scales(config, max(numbers.values()))
    scale_of = {id(p): scales[numbers[name]] for name, p in model.named_parameters()}
    groups = []
    for group in optimizer.param_groups:
        for scale in sorted({scale_of[id(p)] for p in group["params"]}, reverse=True):
            parameters = _of_scale(group["params"], scale_of, scale)
            groups.append({**group, "params": parameters, "lr": group["lr"] * scale})
    optimizer.param_groups[:] = groups


def _of_scale(parameters: Iterable[Tensor], scale_of: dict[int, float], scale: float) -> list[Tensor]:
    return [parameter for parameter in parameters if scale_of[id(parameter)] == scale]
