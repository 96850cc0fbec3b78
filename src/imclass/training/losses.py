"""What training minimises."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from imclass.config.schema import TrainConfig
from imclass.data.augment import one_hot


def build_loss(config: TrainConfig, weights: Sequence[float] | None = None) -> nn.Module:
    """Return the mean loss of logits (N, classes) and labels: int64 (N,), or soft (N, classes).

    weights: of the classes, with a mean of 1 over the images; None: all are 1. Smoothing spreads
    that share of the target over all classes (arXiv:1512.00567).
    """
    if config.focal_gamma is None and weights is None:
        return nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
    return FocalLoss(config.focal_gamma or 0.0, weights, config.label_smoothing)


def loss_of_guessing(
    config: TrainConfig, drawn: Sequence[float], weights: Sequence[float] | None = None
) -> float:
    """Return the loss of guessing: of a network that predicts the classes' frequencies for every image.

    drawn: how often each class is drawn, relative to the others. weights: as of `build_loss`.
    """
    gamma, smoothing, total = config.focal_gamma or 0.0, config.label_smoothing, sum(drawn)
    loss = 0.0
    for times, weight in zip(drawn, weights or [1.0] * len(drawn), strict=True):
        p = (1 - smoothing) * weight * times / total + smoothing / len(drawn)
        loss -= p * math.log(p) * max(0.0, 1 - p) ** gamma if p else 0.0
    return loss


class FocalLoss(nn.Module):
    """The mean over images of weight * (1 - p)^gamma * -log p (Lin et al. 2017, arXiv:1708.02002).

    p: the predicted probability of the class. Of soft targets, each class's term counts by its share; with
    gamma = 0 this is the cross entropy. The mean is over images, not over weights as in torch's
    CrossEntropyLoss: so the parts of a batch, on any rank, add up to the whole. Smoothing spreads an image's
    weight evenly, where torch multiplies what falls on each class by that class's weight: there a rare class
    takes most of it, and the mean loss grows.
    """

    weights: Tensor  # float32 (classes,), or (1,) where all are 1

    def __init__(self, gamma: float, weights: Sequence[float] | None, label_smoothing: float):
        super().__init__()
        self.gamma, self.label_smoothing = gamma, label_smoothing
        self.register_buffer("weights", torch.tensor(weights or [1.0]))

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        log_p = logits.log_softmax(1)
        shares = one_hot(targets, logits.shape[1]) if targets.ndim == 1 else targets
        shares = shares * self.weights
        shares = torch.lerp(shares, shares.mean(1, keepdim=True), self.label_smoothing)
        wrong = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)  # at 0, its gradient is NaN
        return -(shares * wrong**self.gamma * log_p).sum(1).mean()
