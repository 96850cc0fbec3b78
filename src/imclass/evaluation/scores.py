"""Every reported figure of a set of predictions, as plain numbers, computed by torchmetrics."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from imclass.evaluation.evaluate import Predictions

Scores = dict[str, Any]
BINS = 15  # of confidence, as in Guo et al. 2017 (arXiv:1706.04599)


def score(predictions: Predictions, classes: Sequence[str]) -> Scores:
    """Return figures of JSON types; all from 0 to 1 but loss and counts.

    images, loss, accuracy, top5_accuracy (more than 5 classes, else None), macro {precision, recall, f1},
    expected_calibration_error, classes [{name, precision, recall, f1, support}], confusion_matrix
    [true][predicted] in images, calibration [{confidence, accuracy, images}] by bin of confidence.
    """
    count = len(classes)
    probabilities, labels = predictions.probabilities, predictions.labels
    predicted = predictions.logits.argmax(dim=1)
    arguments: dict[str, Any] = {"num_classes": count, "validate_args": False}
    per_class = {
        name: metric(predicted, labels, average=None, **arguments).tolist()
        for name, metric in (
            ("precision", multiclass_precision),
            ("recall", multiclass_recall),
            ("f1", multiclass_f1_score),
        )
    }
    support = torch.bincount(labels, minlength=count).tolist()
    present = [index for index in range(count) if support[index]]
    top5 = (
        multiclass_accuracy(probabilities, labels, average="micro", top_k=5, **arguments)
        if count > 5
        else None
    )
    return {
        "images": predictions.result.images,
        "loss": predictions.result.loss,
        "accuracy": predictions.result.accuracy,
        "top5_accuracy": None if top5 is None else float(top5),
        "macro": {name: sum(v[i] for i in present) / len(present) for name, v in per_class.items()},
        "expected_calibration_error": float(
            multiclass_calibration_error(probabilities, labels, n_bins=BINS, **arguments)
        ),
        "classes": [
            {
                "name": name,
                **{key: values[index] for key, values in per_class.items()},
                "support": support[index],
            }
            for index, name in enumerate(classes)
        ],
        "confusion_matrix": multiclass_confusion_matrix(predicted, labels, **arguments).tolist(),
        "calibration": _bins(probabilities, labels),
    }


def _bins(probabilities: Tensor, labels: Tensor) -> list[dict[str, float]]:
    """Return mean confidence, accuracy and number of images for each bin of confidence that is not empty.

    Bins as torchmetrics has them: closed on the left, and certainty, exactly 1, is one of its own.
    """
    confidence, predicted = probabilities.max(dim=1)
    index = torch.bucketize(confidence, torch.linspace(0, 1, BINS + 1), right=True) - 1
    correct = (predicted == labels).float()
    rows = []
    for number in range(BINS + 1):
        inside = index == number
        if inside.any():
            rows.append(
                {
                    "confidence": float(confidence[inside].mean()),
                    "accuracy": float(correct[inside].mean()),
                    "images": int(inside.sum()),
                }
            )
    return rows
