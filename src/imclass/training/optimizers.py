"""Optimizers by name, with no weight decay on norms and biases unless asked for."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from imclass.config.groups import component
from imclass.config.schema import OptimizerConfig
from imclass.errors import UserError
from imclass.training.muon import Groups, Muon
from imclass.training.rates import scale_rates


def build_optimizer(config: OptimizerConfig, model: nn.Module) -> Optimizer:
    """Build the optimizer of all trainable parameters; each group carries its `initial_lr`.

    Raises UserError where Muon would have nothing to train.
    """
    optimizer = component("optimizer", config.name, OPTIMIZERS, Optimizer)(config, model)
    scale_rates(optimizer, model, config)
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


def _muon(config: OptimizerConfig, model: nn.Module) -> Optimizer:
    hidden = _hidden_weights(model)
    if not hidden:
        raise UserError(
            "optimizer=muon: the model has no weights to train between its first and its last layer; "
            "choose another optimizer, such as optimizer=adamw"
        )
    ids = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in ids]
    plain = dataclasses.replace(config, head_weight_decay=None)
    groups: Groups = [g | {"muon": True} for g in parameter_groups(hidden, plain)]
    groups += [g | {"lr": config.adamw_lr} for g in parameter_groups(rest, config)]
    assert config.momentum is not None
    return Muon(
        groups,
        config.lr,
        config.momentum,
        bool(config.nesterov),
        betas=(0.9, 0.95),  # its authors' choice for all other parameters
        normalize=bool(config.normalize_weights),
    )


def _hidden_weights(model: nn.Module) -> list[Tensor]:
    """Return the trained kernels and matrices of all layers but the first and the last.

    Embeddings, scales of layers and tables of biases have two dimensions too, but map no features.
    """
    layers = nn.modules.conv._ConvNd, nn.Linear, nn.MultiheadAttention
    own = [module.named_parameters(recurse=False) for module in model.modules() if isinstance(module, layers)]
    weights = [p for parameters in own for name, p in parameters if name.endswith("weight")]
    ends = {id(weight) for weight in (*weights[:1], *weights[-1:])}
    once = {id(weight): weight for weight in weights}  # layers may share theirs
    return [weight for key, weight in once.items() if key not in ends and weight.requires_grad]


OPTIMIZERS: dict[str, Callable[[OptimizerConfig, nn.Module], Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
    "rmsprop": _rmsprop,
    "muon": _muon,
}
