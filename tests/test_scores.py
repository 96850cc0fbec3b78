"""Figures of predictions against definitions written out by hand; views of test-time augmentation."""

import pytest
import torch
from torch import nn

from imclass.evaluation.evaluate import Predictions
from imclass.evaluation.metrics import Result
from imclass.evaluation.scores import score
from imclass.evaluation.tta import with_tta

LABELS = [0, 0, 0, 1, 1, 2, 2, 2, 2, 0]
SAID = [0, 0, 1, 1, 1, 2, 0, 2, 1, 0]


def predictions(classes: int = 3, confidence: float = 0.8) -> Predictions:
    """Say `SAID`, each with the same probability; the rest is spread over the other classes."""
    said = torch.tensor(SAID)
    probabilities = torch.full((len(SAID), classes), (1 - confidence) / (classes - 1))
    probabilities[torch.arange(len(SAID)), said] = confidence
    right = [said == label for said, label in zip(SAID, LABELS, strict=True)]
    result = Result(loss=1.0, accuracy=sum(right) / len(right), images=len(right))
    return Predictions(probabilities.log(), torch.tensor(LABELS), result)


def test_figures_are_those_of_their_definitions() -> None:
    scores = score(predictions(), ["a", "b", "c"])
    assert scores["confusion_matrix"] == [[3, 1, 0], [0, 2, 0], [1, 1, 2]]
    a, b, c = scores["classes"]
    assert (a["name"], a["support"]) == ("a", 4)
    assert (a["precision"], a["recall"]) == (pytest.approx(3 / 4), pytest.approx(3 / 4))
    assert (b["precision"], b["recall"], b["f1"]) == (pytest.approx(2 / 4), 1, pytest.approx(2 / 3))
    assert (c["precision"], c["recall"]) == (1, pytest.approx(2 / 4))
    assert scores["macro"]["precision"] == pytest.approx((3 / 4 + 2 / 4 + 1) / 3)
    assert scores["accuracy"] == 0.7
    assert scores["top5_accuracy"] is None
    assert scores["expected_calibration_error"] == pytest.approx(0.8 - 0.7)
    (row,) = scores["calibration"]
    assert row == {"confidence": pytest.approx(0.8), "accuracy": pytest.approx(0.7), "images": 10}


def test_top_5_counts_the_five_likeliest_of_more_than_five_classes() -> None:
    logits = torch.arange(8.0).repeat(4, 1)  # the likeliest are 7, 6, 5, 4, 3
    labels = torch.tensor([7, 3, 2, 0])
    scores = score(Predictions(logits, labels, Result(1.0, 0.25, 4)), [str(i) for i in range(8)])
    assert scores["top5_accuracy"] == 0.5


def test_a_class_without_images_does_not_lower_the_means() -> None:
    four = score(predictions(classes=4), ["a", "b", "c", "d"])
    three = score(predictions(), ["a", "b", "c"])
    assert four["classes"][3]["support"] == 0
    assert four["macro"] == pytest.approx(three["macro"])


def test_calibration_error_is_that_of_the_bins_also_where_it_is_certain() -> None:
    confidence = torch.tensor([1.0, 1.0, 0.965, 0.965])
    logits = torch.stack([confidence, 1 - confidence], dim=1).log()
    labels = torch.tensor([1, 1, 0, 0])
    scores = score(Predictions(logits, labels, Result(1.0, 0.5, 4)), ["a", "b"])
    bins = scores["calibration"]
    error = sum(row["images"] * abs(row["accuracy"] - row["confidence"]) for row in bins) / 4
    assert scores["expected_calibration_error"] == pytest.approx(error)
    assert error == pytest.approx((2 * 1 + 2 * 0.035) / 4, abs=1e-4)


class Certain(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[120.0, 0.0]]).repeat(len(images), 1)


def test_views_of_a_certain_model_keep_a_finite_loss() -> None:
    logits = with_tta(Certain(), "flip_shift")(torch.zeros(2, 1, 4, 4))
    assert nn.functional.cross_entropy(logits, torch.tensor([1, 1])).item() == pytest.approx(120.0)


class Corner(nn.Module):
    """Two logits: the upper left pixel, and 0."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.stack([images[:, 0, 0, 0], torch.zeros(len(images))], dim=1)


@pytest.mark.parametrize(
    ("choice", "corners"),
    [
        ("none", [(0, 0)]),
        ("flip", [(0, 0), (0, 4)]),
        ("flip_shift", [(0, 0), (0, 4), (0, 0), (0, 3), (1, 1), (1, 4)]),
    ],
)
def test_probabilities_are_means_over_the_views(choice: str, corners: list[tuple[int, int]]) -> None:
    """Which pixels come to the upper left corner: mirrored, and moved by one with the edge repeated."""
    image = torch.arange(25.0).reshape(1, 1, 5, 5) / 25
    expected = torch.stack([Corner()(image[:, :, y:, x:]).softmax(1) for y, x in corners]).mean(0)
    assert torch.allclose(with_tta(Corner(), choice)(image).softmax(1), expected)
