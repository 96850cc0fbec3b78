"""What training minimises."""

from torch import nn


def build_loss(label_smoothing: float) -> nn.Module:
    """Return the mean cross entropy of logits (N, classes) and labels: int64 (N,), or soft (N, classes).

    label_smoothing: share of the target spread over all classes, 0 <= s < 1 (arXiv:1512.00567).
    """
    return nn.CrossEntropyLoss(label_smoothing=label_smoothing)
