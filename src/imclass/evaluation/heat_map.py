"""What a prediction rests on: Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391)."""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from imclass.data.dataset import Split
from imclass.evaluation.trained import Trained
from imclass.machine.device import Device

LEAST_SIDE = 4  # cells of a map: the last layers of a network for small images have fewer
AT_ONCE = 8  # images: their graph is kept, unlike in evaluation


def heat_maps(model: nn.Module, images: Tensor, classes: Tensor, device: Device) -> Tensor | None:
    """Return how far each place of an image speaks for a class: float32 (N, H, W), on the CPU.

    images: normalised (N, C, H, W), on the device. classes: int64 (N,). Each map goes from 0 to 1, and is 0
    where nothing speaks for the class. None: the model has no feature maps behind its first convolution, as
    a vision transformer has none, or no gradient. The model keeps its mode.
    """
    was_training = model.training
    model.eval()
    try:
        layer = _layer(model, images[:1], device)
        if layer is None:
            return None
        parts = zip(images.split(AT_ONCE), classes.to(images.device).split(AT_ONCE), strict=True)
        return torch.cat([_maps(model, layer, *part, device) for part in parts])
    finally:
        model.train(was_training)


def explain(
    trained: Trained, images: Sequence[Tensor], classes: Sequence[int]
) -> list[tuple[Tensor, Tensor]]:
    """Return images as the network sees them, uint8 (C, H, W), each with its heat map for its class.

    images: as `predict_pictures` yields them. The model has feature maps: see `has_maps`.
    """
    if not images:
        return []
    labels = torch.tensor(classes)
    loaded = trained.loader(Split(torch.stack(list(images)), labels)).images
    seen, _ = loaded.gather(torch.arange(len(labels)))
    heats = heat_maps(trained.model, loaded.normalize(seen), labels, trained.device)
    assert heats is not None
    return list(zip(seen.cpu(), heats, strict=True))


def has_maps(model: nn.Module, shape: tuple[int, int, int], device: Device) -> bool:
    """Return whether `heat_maps` finds feature maps in a model in evaluation mode. shape: of an image."""
    return _layer(model, torch.zeros(1, *shape, device=device.device), device) is not None


def _maps(model: nn.Module, layer: nn.Module, images: Tensor, classes: Tensor, device: Device) -> Tensor:
    """Return what `_grad_cam` does; when memory runs out, from halves of the batch."""
    try:
        return _grad_cam(model, layer, images, classes, device)
    except (RuntimeError, MemoryError) as error:
        if len(images) == 1 or not device.is_out_of_memory(error):
            raise
    half = len(images) // 2
    parts = ((images[:half], classes[:half]), (images[half:], classes[half:]))
    return torch.cat([_maps(model, layer, *part, device) for part in parts])


def _grad_cam(model: nn.Module, layer: nn.Module, images: Tensor, classes: Tensor, device: Device) -> Tensor:
    """Return the feature maps of `layer`, summed with the mean gradients of the class's logit as weights."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        kept[:] = [output.detach().requires_grad_()]
        return kept[0].clone()  # the next layer may work in place

    with ExitStack() as stack:
        stack.callback(layer.register_forward_hook(keep).remove)
        stack.enter_context(torch.enable_grad())
        stack.enter_context(device.autocast())
        logits = model.forward(images)  # not a call: compiled code runs no hooks
        (gradient,) = torch.autograd.grad(logits.gather(1, classes[:, None]).float().sum(), kept)
    weights = gradient.float().mean(dim=(2, 3), keepdim=True)
    maps = (weights * kept[0].detach().float()).sum(dim=1, keepdim=True).relu()
    maps = nn.functional.interpolate(maps, images.shape[2:], mode="bilinear").squeeze(1)
    largest = maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(largest > 0, maps / largest, 0).cpu()


def _layer(model: nn.Module, image: Tensor, device: Device) -> nn.Module | None:
    """Return the last module that puts out maps of LEAST_SIDE cells a side, else the last that has any.

    None also for a model that no gradient flows through.
    """
    found: list[tuple[nn.Module, int]] = []
    convolutions: list[nn.Module] = []

    def note(module: nn.Module, inputs: object, output: object) -> None:
        if convolutions and isinstance(output, Tensor) and output.ndim == 4:
            height, width = output.shape[2:]
            if height == width <= image.shape[2]:  # others are no places: attention heads
                found.append((module, height))
        if isinstance(module, nn.Conv2d):
            convolutions.append(module)

    with ExitStack() as stack:
        for module in model.modules():
            stack.callback(module.register_forward_hook(note).remove)
        stack.enter_context(torch.enable_grad())
        stack.enter_context(device.autocast())
        logits = model.forward(image.detach().requires_grad_() + 0)
    if not logits.requires_grad:
        return None
    for least in (LEAST_SIDE, 2):
        layers = [module for module, side in found if side >= least]
        if layers:
            return layers[-1]
    return None
