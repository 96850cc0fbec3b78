"""Dry runs on the meta device, where tensors have shapes but no data."""

import copy

import torch
from torch import Tensor, nn

from imclass.errors import UserError, first_line


def meta_copy(model: nn.Module) -> nn.Module:
    """Return a copy on the meta device in eval mode, without copying any weights.

    All its parameters require gradients, frozen or not: without gradients attention takes a fused
    path that the meta device and the FLOP counter do not support.
    """
    memo: dict[int, object] = {}
    for parameter in model.parameters():
        on_meta = parameter.detach().to("meta")
        memo[id(parameter)] = nn.Parameter(on_meta, requires_grad=parameter.is_floating_point())
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.detach().to("meta")
    twin: nn.Module = copy.deepcopy(model, memo)
    return twin.eval()


def check_fits(model: nn.Module, name: str, shape: tuple[int, int, int], classes: int) -> None:
    """Raise UserError unless `model` maps images of `shape` (C, H, W) to `classes` logits.

    A model that uses an operation without a meta kernel cannot be checked and passes.
    """
    size = "x".join(map(str, shape))
    images = torch.empty(2, *shape, device="meta")  # 2: batch norm has no variance of one value
    try:
        logits = meta_copy(model)(images)
    except NotImplementedError:
        return
    except Exception as error:  # any layer may reject the shape with its own type
        reason = first_line(error)
        raise UserError(
            f"model.name={name} does not work on {size} images ({reason}); try dataset.resize=224"
        ) from error
    if not isinstance(logits, Tensor) or logits.shape != (2, classes):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(
            f"model.name={name} must return logits of shape (2, {classes}) for 2 images, not {got}"
        )
