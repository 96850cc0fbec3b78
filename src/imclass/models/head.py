"""The last layers of a network: the number of classes and the dropout before it."""

from torch import Tensor, nn


class DropoutLinear(nn.Linear):
    """A linear layer with dropout on its input; (N, in) -> (N, out).

    The names in the state dict are those of the plain layer, so that weights fit whatever
    `model.dropout` was when they were saved. Takes over the tensors of `linear`.
    """

    def __init__(self, linear: nn.Linear, p: float):
        bias = linear.bias is not None
        super().__init__(linear.in_features, linear.out_features, bias=bias, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.dropout = nn.Dropout(p)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(self.dropout(input))


def find_head(model: nn.Module) -> str:
    """Return the name of the layer that gives the logits: the last linear one (squeezenet: convolution)."""
    for kind in (nn.Linear, nn.Conv2d):
        names = [name for name, module in model.named_modules() if isinstance(module, kind)]
        if names:
            return names[-1]
    raise AssertionError("a classifier without a linear layer or a convolution")


def replace_head(model: nn.Module, classes: int) -> None:
    """Put a fresh layer with `classes` outputs in place of the one that gives the logits."""
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
    """Set the dropout of the head, adding one before the last layer if there is none. None: leave it."""
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
