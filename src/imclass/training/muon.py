"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon), for convolutions too."""

import itertools
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

Groups = list[dict[str, Any]]


class Muon(Optimizer):
    """Muon for hidden weights, AdamW for the rest.

    A convolution's weight (out, in, h, w) is taken as the matrix (out, in*h*w), which torch.optim.Muon
    refuses. Groups with `muon: True` move along the orthogonalised momentum, scaled by
    max(1, rows/columns) ** 0.5; the others take AdamW steps. normalize: before each step, scale every such
    weight to the norm out ** 0.5, so that a rate means the same change at all times.
    """

    def __init__(
        self,
        groups: Groups,
        lr: float,
        momentum: float,
        nesterov: bool,
        betas: tuple[float, float],
        normalize: bool = False,
    ):
        defaults = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "betas": betas, "eps": 1e-8}
        super().__init__(groups, defaults | {"weight_decay": 0.0, "muon": False})
        self._normalize = normalize

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            for parameter in trained:
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
            if group["muon"]:
                self._muon_steps(trained, group)
            else:
                for parameter in trained:
                    self._adam_step(parameter, group)

    def _muon_steps(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Update all weights of one shape together: small products leave most of a machine idle."""
        by_shape = sorted(parameters, key=lambda p: p.shape)
        for _, same in itertools.groupby(by_shape, key=lambda p: p.shape):
            weights = list(same)
            matrices = orthogonalize(torch.stack([self._direction(p, group).flatten(1) for p in weights]))
            scale = max(1.0, matrices.size(1) / matrices.size(2)) ** 0.5
            for weight, matrix in zip(weights, matrices, strict=True):
                if self._normalize:
                    weight.mul_(len(weight) ** 0.5 / weight.norm().clamp_min(1e-7))
                weight.add_(matrix.view_as(weight), alpha=-group["lr"] * scale)

    def _direction(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """Return the momentum after this step, with Nesterov's look ahead."""
        grad = parameter.grad
        assert grad is not None
        if "momentum" not in self.state[parameter]:
            self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        momentum: Tensor = self.state[parameter]["momentum"].lerp_(grad, 1 - group["momentum"])
        return grad.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum

    def _adam_step(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        (b1, b2), grad = group["betas"], parameter.grad
        assert grad is not None
        state["mean"].lerp_(grad, 1 - b1)
        state["square"].mul_(b2).addcmul_(grad, grad, value=1 - b2)
        mean = state["mean"] / (1 - b1 ** state["step"])
        root = (state["square"] / (1 - b2 ** state["step"])).sqrt_()
        parameter.addcdiv_(mean, root.add_(group["eps"]), value=-group["lr"])


def orthogonalize(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Return matrices (N, rows, columns) with their singular values pushed to about 1 (0.7 to 1.2).

    Newton-Schulz iteration with the quintic of Jordan et al. 2024: x <- a x + b (xx')x + c (xx')^2 x. Under
    autocast the products are in its precision, which is enough (same page).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    transposed = matrices.size(-2) > matrices.size(-1)
    x = matrices.mT if transposed else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if transposed else x
