"""The first layers of a network: input channels and how fast they shrink the image."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from imclass.config.schema import ModelConfig
from imclass.errors import UserError

CIFAR_UP_TO = 64  # pixels: an ImageNet stem leaves a 64x64 image 16x16 before the first block

Builder: TypeAlias = Callable[[ModelConfig, int, int, int], nn.Module]  # config, in_channels, classes, size


def resolve_stem(config: ModelConfig, size: int) -> Literal["cifar", "imagenet"]:
    """Return "cifar" or "imagenet" for images of `size` x `size` pixels.

    auto depends on the size, but pretrained weights always keep their ImageNet stem: the layers
    after it were trained on its output.
    """
    if config.stem != "auto":
        return config.stem
    return "cifar" if size <= CIFAR_UP_TO and not config.pretrained else "imagenet"


def reject_variants(config: ModelConfig) -> None:
    """Reject model.stem and model.pretrained for a network with one stem and no published weights."""
    if config.pretrained:
        raise UserError(
            f"model.pretrained=true: {config.name} has no pretrained weights; your own: model.weights=FILE"
        )
    if config.stem != "auto":
        raise UserError(f"model.stem={config.stem}: {config.name} has only its own stem; use model.stem=auto")


def adapt_stem(
    model: nn.Module,
    config: ModelConfig,
    in_channels: int,
    size: int,
    *,
    conv: str,
    pools: Sequence[str],
    init: Callable[[Tensor], Tensor] | None = None,
) -> nn.Module:
    """Adapt a network's first layers: input channels, and for the cifar stem conv 3x3 stride 1, no pools.

    conv, pools: names of the modules. init: the family's initialisation, if it is not nn.Conv2d's.
    """
    small = resolve_stem(config, size) == "cifar"
    adapt_conv(model, conv, in_channels, small=small, keep_weights=config.pretrained, init=init)
    for pool in pools if small else ():
        model.set_submodule(pool, nn.Identity())
    return model


def adapt_conv(
    model: nn.Module,
    name: str,
    in_channels: int,
    *,
    small: bool = False,
    keep_weights: bool = False,
    init: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Replace the convolution `name` by one with other input channels; small: also 3x3 stride 1.

    keep_weights: reuse the weights if the kernel size is unchanged, otherwise initialise new ones.
    init: the family's initialisation, if it is not nn.Conv2d's.
    """
    old = model.get_submodule(name)
    assert isinstance(old, nn.Conv2d)
    current = old.kernel_size, old.stride, old.padding
    kernel, stride, padding = ((3, 3), (1, 1), (1, 1)) if small else current
    if in_channels == old.in_channels and (kernel, stride, padding) == current:
        return
    bias = old.bias is not None
    new = nn.Conv2d(in_channels, old.out_channels, kernel, stride, padding, bias=bias)  # type: ignore[arg-type]
    with torch.no_grad():
        if keep_weights and kernel == old.kernel_size:
            new.weight.copy_(adapt_channels(old.weight, in_channels))
            if new.bias is not None and old.bias is not None:
                new.bias.copy_(old.bias)
        elif init is not None:
            init(new.weight)
            if new.bias is not None:
                nn.init.zeros_(new.bias)
    model.set_submodule(name, new)


def adapt_channels(weight: Tensor, in_channels: int) -> Tensor:
    """Convert (out, C, k, k) weights to (out, in_channels, k, k) with similar outputs.

    One channel: the sum, so a grey image gives the same output as its RGB copy. Otherwise
    channels repeat in turn, rescaled to keep the outputs' magnitude.
    """
    trained = weight.shape[1]
    if in_channels == trained:
        return weight
    if in_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    turns = torch.arange(in_channels, device=weight.device) % trained
    return weight[:, turns] * (trained / in_channels)


def first_conv(model: nn.Module) -> str:
    """Return the name of the first convolution; torchvision registers modules in order of use."""
    return next(name for name, module in model.named_modules() if isinstance(module, nn.Conv2d))
