"""A model's report on one split: evaluation.json and the plots made from the predictions."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from imclass.data.dataset import Split
from imclass.data.loader import Images, TrainLoader
from imclass.evaluation.evaluate import Predictions
from imclass.evaluation.scores import Scores, score
from imclass.reports.plots import (
    Picture,
    plot_calibration,
    plot_confusion_matrix,
    plot_pictures,
)
from imclass.runs.atomic import write_atomically

SHOWN = 32  # pictures on a sheet


def write_split_report(
    folder: Path,
    split: Split,
    images: Images,
    predictions: Predictions,
    classes: Sequence[str],
    about: Mapping[str, Any],
    *,
    draw: bool = True,
) -> Scores:
    """Write `evaluation.json` into `folder`, and draw four plots; return the content of `evaluation.json`.

    images: those of the split, as the network sees them. about: what was evaluated (split, weights, tta,
    data); its first entries.
    """
    skipped = {"skipped": len(split.skipped)} if split.skipped else {}  # damaged images
    scores = {**about, **skipped, **score(predictions, classes)}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "evaluation.json", json.dumps(scores, indent=1) + "\n")
    if not draw:
        return scores
    plots = folder / "plots"
    draw_scores(scores, plots)
    first = torch.arange(min(SHOWN, len(split)))
    where = about["data"] or about["split"]
    title = f"The first {len(first)} images of {where}: what it predicts, wrong ones in red"
    plot_pictures(_pictures(first, images, predictions, classes), title, plots / "predictions.png")
    mistakes = most_confident_mistakes(predictions)
    worst = mistakes[:SHOWN]
    title = f"The {len(worst)} most confident mistakes on {where}, of {len(mistakes):,} in all"
    plot_pictures(_pictures(worst, images, predictions, classes), title, plots / "mistakes.png")
    return scores


def draw_scores(scores: Scores, plots: Path) -> None:
    """Draw the plots that need only `evaluation.json`: confusion matrix and calibration."""
    names = [row["name"] for row in scores["classes"]]
    plot_confusion_matrix(scores["confusion_matrix"], names, plots / "confusion_matrix.png")
    error = scores["expected_calibration_error"]
    plot_calibration(scores["calibration"], error, plots / "calibration.png")


def draw_samples(loader: TrainLoader, classes: Sequence[str], file: Path) -> None:
    """Draw the first training images as the network sees them, augmentation included."""
    images, targets = loader.samples(SHOWN)
    captions = [_caption(target, classes) for target in targets.cpu()]
    pictures = [Picture(*pair) for pair in zip(images, captions, strict=True)]
    plot_pictures(pictures, "Training images as the network sees them", file)


def most_confident_mistakes(predictions: Predictions) -> torch.Tensor:
    """Return the indices (int64) of all wrong predictions, the highest probability first."""
    confidence, predicted = predictions.probabilities.amax(dim=1), predictions.logits.argmax(dim=1)
    wrong = (predicted != predictions.labels).nonzero().flatten()
    return wrong[confidence[wrong].argsort(descending=True, stable=True)]


def _pictures(
    indices: torch.Tensor, images: Images, predictions: Predictions, classes: Sequence[str]
) -> list[Picture]:
    pictures, seen = [], images.gather(indices)[0].cpu()
    for image, index in zip(seen, indices.tolist(), strict=True):
        true, predicted = int(predictions.labels[index]), int(predictions.logits[index].argmax())
        probability = float(predictions.logits[index].softmax(dim=0)[predicted])
        caption = f"{classes[predicted]} {probability:.0%}\n"
        caption += f"is {classes[true]}" if predicted != true else ""
        pictures.append(Picture(image, caption, predicted == true))
    return pictures


def _caption(target: torch.Tensor, classes: Sequence[str]) -> str:
    """Return the class of a hard label, or the two classes and shares of a mixed one."""
    if not target.is_floating_point():
        return classes[int(target)]
    shares, found = target.topk(2)
    both = [(share, classes[i]) for share, i in zip(shares.tolist(), found.tolist(), strict=True) if share]
    return both[0][1] if len(both) == 1 else "\n".join(f"{share:.0%} {name}" for share, name in both)
