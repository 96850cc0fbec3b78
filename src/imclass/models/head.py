"""The head of a network: its number of classes and its dropout."""

from torch import Tensor, nn


class DropoutLinear(nn.Linear):
    """A linear layer with dropout on its input; (N, in) -> (N, out).

    State dict keys are those of nn.Linear, so weights load whatever `model.dropout` was when
    they were saved. Shares the parameters of `linear`.
    """

    def __init__(self, linear: nn.Linear, p: float):
        bias = linear.bias is not None
        super().__init__(linear.in_features, linear.out_features, bias=bias, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.dropout = nn.Dropout(p)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(self.dropout(input))


def find_head(model: nn.Module) -> str:
    """Return the name of the layer that computes the logits: the last linear (squeezenet: convolution)."""
    for kind in (nn.Linear, nn.Conv2d):
        names = [name for name, module in model.named_modules() if isinstance(module, kind)]
        if names:
            return names[-1]
    raise AssertionError("a classifier without a linear layer or a convolution")


def replace_head(model: nn.Module, classes: int) -> None:
    """Replace the layer that computes the logits by a new one with `classes` outputs."""
    name = find_head(model)
    old = model.get_submodule(name)
    bias = old.bias is not None
    new: nn.Module
    if isinstance(old, nn.Conv2d):
        new = nn.Conv2d(old.in_channels, classes, old.kernel_size, old.stride, bias=bias)  # type: ignore[arg-type]
    else:
        assert isinstance(old, nn.Linear)
        new = nn.Linear(old.in_features, classes, bias=bias)
    model.set_submodule(name, new)


def set_dropout(model: nn.Module, p: float | None) -> None:
    """Set the head's dropout, adding it before the last layer if there is none. None: keep it."""
    if p is None:
        return
    name = find_head(model)
    head, parent = model.get_submodule(name), model.get_submodule(name.rpartition(".")[0])
    existing = [module for module in parent.children() if isinstance(module, nn.Dropout)]
    for dropout in existing:
        dropout.p = p
    if not existing:
        assert isinstance(head, nn.Linear)
        model.set_submodule(name, DropoutLinear(head, p))
