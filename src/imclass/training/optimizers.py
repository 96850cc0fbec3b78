"""Optimizers by name, with no weight decay on norms and biases unless asked for."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from imclass.config.groups import component
from imclass.config.schema import OptimizerConfig

Groups = list[dict[str, Any]]


def build_optimizer(config: OptimizerConfig, model: nn.Module) -> Optimizer:
    """Build the optimizer of all trainable parameters; each group carries its `initial_lr`."""
    optimizer = component("optimizer", config.name, OPTIMIZERS, Optimizer)(config, model)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def parameter_groups(parameters: Iterable[Tensor], config: OptimizerConfig) -> Groups:
    """Split into parameters that decay, those that do not (norms, biases), and the head's weights.

    Parameters of two or more dimensions decay; the last of them is the head's kernel, as modules register
    their layers in the order of their use.
    """
    trainable = [p for p in parameters if p.requires_grad]
    decayed = [p for p in trainable if p.ndim > 1 or config.decay_norm_and_bias]
    others = [p for p in trainable if not (p.ndim > 1 or config.decay_norm_and_bias)]
    groups = [(decayed, config.weight_decay), (others, 0.0)]
    if config.head_weight_decay is not None:
        head = [p for p in trainable if p.ndim > 1][-1]
        decayed[:] = [p for p in decayed if p is not head]
        groups.append(([head], config.head_weight_decay))
    return [{"params": params, "weight_decay": decay} for params, decay in groups if params]


def _sgd(config: OptimizerConfig, model: nn.Module) -> Optimizer:
    groups = parameter_groups(model.parameters(), config)
    momentum = config.momentum
    assert momentum is not None
    nesterov = bool(config.nesterov) and momentum > 0
    return torch.optim.SGD(groups, lr=config.lr, momentum=momentum, nesterov=nesterov, fused=True)


def _adam(config: OptimizerConfig, model: nn.Module) -> Optimizer:
    return torch.optim.Adam(parameter_groups(model.parameters(), config), **_adam_settings(config))


def _adamw(config: OptimizerConfig, model: nn.Module) -> Optimizer:
    return torch.optim.AdamW(parameter_groups(model.parameters(), config), **_adam_settings(config))


def _adam_settings(config: OptimizerConfig) -> dict[str, Any]:
    assert config.betas is not None
    return {"lr": config.lr, "betas": tuple(config.betas), "eps": config.eps, "fused": True}


def _rmsprop(config: OptimizerConfig, model: nn.Module) -> Optimizer:
    groups = parameter_groups(model.parameters(), config)
    settings = {"lr": config.lr, "alpha": config.alpha, "eps": config.eps, "momentum": config.momentum}
    return torch.optim.RMSprop(groups, **settings)  # type: ignore[arg-type]


class Muon(Optimizer):
    """Muon for hidden weights, AdamW for the rest (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

    A convolution's weight (out, in, h, w) is taken as the matrix (out, in*h*w), which torch.optim.Muon
    refuses. Groups with `muon: True` move along the orthogonalised momentum, scaled by
    max(1, rows/columns) ** 0.5; the others take AdamW steps.
    """

    def __init__(
        self, groups: Groups, lr: float, momentum: float, nesterov: bool, betas: tuple[float, float]
    ):
        defaults = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "betas": betas, "eps": 1e-8}
        super().__init__(groups, defaults | {"weight_decay": 0.0, "muon": False})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    (self._muon_step if group["muon"] else self._adam_step)(parameter, group)

    def _muon_step(self, parameter: Tensor, group: dict[str, Any]) -> None:
        grad = parameter.grad
        assert grad is not None
        if "momentum" not in self.state[parameter]:
            self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        momentum = self.state[parameter]["momentum"]
        momentum.lerp_(grad, 1 - group["momentum"])
        update = grad.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
        matrix = orthogonalize(update.flatten(1))
        scale = max(1.0, matrix.size(0) / matrix.size(1)) ** 0.5
        parameter.add_(matrix.view_as(parameter), alpha=-group["lr"] * scale)

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


def orthogonalize(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Return the matrix (rows, columns) with its singular values pushed to about 1 (0.7 to 1.2).

    Newton-Schulz iteration with the quintic of Jordan et al. 2024: x <- a x + b (xx')x + c (xx')^2 x.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    transposed = matrix.size(0) > matrix.size(1)
    x = matrix.mT if transposed else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if transposed else x


def _muon(config: OptimizerConfig, model: nn.Module) -> Optimizer:
    weights = [p for p in model.parameters() if p.ndim > 1]
    # The first and the last layer are no maps between hidden features.
    hidden = [p for p in weights[1:-1] if p.requires_grad]
    ids = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in ids]
    plain = dataclasses.replace(config, head_weight_decay=None)
    groups: Groups = [g | {"muon": True} for g in parameter_groups(hidden, plain)]
    groups += [g | {"lr": config.adamw_lr} for g in parameter_groups(rest, config)]
    assert config.momentum is not None
    return Muon(groups, config.lr, config.momentum, bool(config.nesterov), betas=(0.9, 0.95))


OPTIMIZERS: dict[str, Callable[[OptimizerConfig, nn.Module], Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
    "rmsprop": _rmsprop,
    "muon": _muon,
}
