"""A network as a row of blocks, from its first layers to its head: what is frozen, what learns how fast."""

from collections.abc import Iterator, Sequence

from torch import nn

from imclass.errors import UserError
from imclass.models.head import find_head

Block = tuple[str, ...]  # names of modules and parameters that lie side by side: ("conv1", "bn1")


def blocks_of(model: nn.Module) -> list[Block]:
    """Return the blocks before the head, in the order of their registration, which is that of their use.

    A block begins with each part that has matrices or kernels; norms, poolings and dropout belong to the
    part before them. Parts are the children of the model; a child that holds most of the weights and has no
    like of its class beside it (torchvision's `features`, timm's `blocks`) is taken apart.
    """
    blocks: list[Block] = []
    waiting: Block = ()  # what comes before the first matrix: a class token
    for name in _parts(model, "", find_head(model)):
        if _has_matrix(model, name):
            blocks.append((*waiting, name))
            waiting = ()
        elif blocks:
            blocks[-1] += (name,)
        else:
            waiting += (name,)
    return blocks


def _parts(module: nn.Module, prefix: str, head: str) -> Iterator[str]:
    """Yield the names of the parameters and children of `module` but the head; of some, their parts."""
    yield from (prefix + name for name, _ in module.named_parameters(recurse=False))
    beside = [child for name, child in module.named_children() if not _holds(prefix + name, head)]
    for name, child in module.named_children():
        path = prefix + name
        if path == head:
            continue
        if _holds(path, head) or _stands_out(child, beside):
            yield from _parts(child, f"{path}.", head)
        else:
            yield path


def _stands_out(module: nn.Module, beside: Sequence[nn.Module]) -> bool:
    """Return whether a module has parts, most of the weights, and no like among those `beside` it."""
    likes = [other for other in beside if type(other) is type(module) and 20 * _count(other) > _count(module)]
    large = 2 * _count(module) > sum(map(_count, beside))
    return large and len(likes) == 1 and next(module.children(), None) is not None


def _holds(path: str, head: str) -> bool:
    return f"{head}.".startswith(f"{path}.")


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _has_matrix(model: nn.Module, name: str) -> bool:
    """Return whether `name` is a module with matrices or kernels; a bare parameter is an embedding."""
    if name.rpartition(".")[2] in dict(_parent(model, name).named_parameters(recurse=False)):
        return False
    return any(parameter.ndim > 1 for parameter in model.get_submodule(name).parameters())


def _parent(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def block_numbers(model: nn.Module) -> dict[str, int]:
    """Return the number of its block for the name of each parameter; the head counts as the last."""
    blocks = blocks_of(model)

    def number(name: str) -> int:
        found = (n for n, block in enumerate(blocks) if any(_holds(part, name) for part in block))
        return next(found, len(blocks))

    return {name: number(name) for name, _ in model.named_parameters()}


def labels_of(model: nn.Module) -> list[str]:
    """Return the name of each block for people: that of its first part with matrices."""
    return [next(name for name in block if _has_matrix(model, name)) for block in blocks_of(model)]


def freeze(model: nn.Module, what: int | str) -> list[str]:
    """Exclude blocks from training: no gradients, and evaluation mode for good; return their labels.

    what: `model.freeze`. In evaluation mode batch norm keeps its statistics, and dropout does nothing.
    Raises UserError where there are fewer blocks.
    """
    if what == "none":
        return []
    blocks = blocks_of(model)
    labels = labels_of(model)
    count = len(blocks) if what == "backbone" else int(what)
    if count > len(blocks):
        raise UserError(
            f"model.freeze={count}: expected at most {len(blocks)}, the blocks before the last layer: "
            f"{', '.join(labels)}"
        )
    for name in (name for block in blocks[:count] for name in block):
        last, parameters = name.rpartition(".")[2], dict(_parent(model, name).named_parameters(recurse=False))
        if last in parameters:
            parameters[last].requires_grad_(False)
        else:
            _freeze_module(model.get_submodule(name))
    return labels[:count]


def _freeze_module(module: nn.Module) -> None:
    module.requires_grad_(False).eval()
    module.__class__ = _frozen(type(module))


def _frozen(kind: type) -> type:
    """Return a class that differs from `kind` in its `train` alone."""
    return type(kind.__name__, (kind,), {"train": _stay_in_evaluation, "__module__": kind.__module__})


def _stay_in_evaluation(module: nn.Module, mode: bool = True) -> nn.Module:
    return nn.Module.train(module, False)
