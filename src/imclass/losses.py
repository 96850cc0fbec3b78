"""What training minimises."""

from torch import Tensor, nn


def build_loss(label_smoothing: float) -> nn.Module:
    """Return the mean cross entropy of logits (N, classes) and labels: int64 (N,), or soft (N, classes).

    label_smoothing: share of the target spread over all classes, 0 <= s < 1 (arXiv:1512.00567).
    """
    return nn.CrossEntropyLoss(label_smoothing=label_smoothing)


def cross_entropy_sum(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the summed cross entropy of float logits (N, classes) and int64 labels (N,), as a scalar."""
    return nn.functional.cross_entropy(logits, labels, reduction="sum")
