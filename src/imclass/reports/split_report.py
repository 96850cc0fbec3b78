"""A model's report on one split: evaluation.json and the plots made from the predictions."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imclass.data.dataset import Split
from imclass.data.loader import Images, TrainLoader
from imclass.evaluation.evaluate import Predictions
from imclass.evaluation.heat_map import heat_maps
from imclass.evaluation.scores import Scores, score
from imclass.reports.plots import (
    Picture,
    heat_legend,
    plot_calibration,
    plot_classes,
    plot_confusion_matrix,
    plot_pictures,
)
from imclass.runs.atomic import write_atomically

SHOWN = 32  # pictures on a sheet
OF_EACH_CLASS, OF_ALL_CLASSES = (8, 4, 2, 1), 40  # predictions on a sheet; rows of eight hold classes whole


def write_split_report(
    folder: Path,
    split: Split,
    images: Images,
    predictions: Predictions,
    classes: Sequence[str],
    about: Mapping[str, Any],
    model: nn.Module,
    *,
    draw: bool = True,
) -> Scores:
    """Write `evaluation.json` into `folder`, and draw four plots; return the content of `evaluation.json`.

    images: those of the split, as the network sees them. about: what was evaluated (split, weights, tta,
    data); its first entries. model: what predicted, to show what its mistakes rest on.
    """
    skipped = {"skipped": len(split.skipped)} if split.skipped else {}  # damaged images
    scores = {**about, **skipped, **score(predictions, classes)}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "evaluation.json", json.dumps(scores, indent=1) + "\n")
    if draw:
        plots, where = folder / "plots", about["data"] or about["split"]
        draw_scores(scores, plots)
        _draw_predictions(images, predictions, classes, where, plots / "predictions.png")
        _draw_mistakes(split, images, predictions, classes, where, model, plots / "mistakes.png")
    return scores


def _draw_predictions(
    images: Images, predictions: Predictions, classes: Sequence[str], where: str, file: Path
) -> None:
    chosen = a_few_of_each_class(predictions.labels, len(classes))
    pictures = _pictures(chosen, images.gather(chosen)[0], predictions, classes)
    plot_pictures(
        pictures, f"A few images of each class of {where}: what it predicts, wrong ones in red", file
    )


def _draw_mistakes(
    split: Split,
    images: Images,
    predictions: Predictions,
    classes: Sequence[str],
    where: str,
    model: nn.Module,
    file: Path,
) -> None:
    """Draw the most confident mistakes, each with what it rests on, and the names of their files."""
    mistakes = most_confident_mistakes(predictions)
    if not len(mistakes):
        plot_pictures([], f"No mistakes on {where}: all {len(split):,} images are right", file)
        return
    worst = mistakes[:SHOWN]
    seen = images.gather(worst)[0]
    heats = heat_maps(model, images.normalize(seen), predictions.logits[worst].argmax(dim=1), images.device)
    some = f"The {len(worst)} most confident of {len(mistakes):,}" if len(worst) < len(mistakes) else "All"
    pictures = [
        picture._replace(caption=f"{picture.caption}{name}", heat=None if heats is None else heats[number])
        for number, (picture, name) in enumerate(
            zip(_pictures(worst, seen, predictions, classes), _names(split, worst), strict=True)
        )
    ]
    plot_pictures(pictures, f"{some} mistakes on {where}{heat_legend(pictures)}", file)


def a_few_of_each_class(labels: Tensor, classes: int) -> Tensor:
    """Return indices (int64) of images class by class, spread evenly over those of each class.

    labels: int64 (N,). As many of each class as fit on a sheet; of more classes than fit, one image each of
    some, spread evenly too.
    """
    own = [(labels == number).nonzero().flatten() for number in range(classes)]
    own = [indices for indices in own if len(indices)]
    own = [own[place] for place in _spread(len(own), OF_ALL_CLASSES)]
    each = next(count for count in OF_EACH_CLASS if count * len(own) <= OF_ALL_CLASSES)
    return torch.cat([indices[_spread(len(indices), each)] for indices in own])


def _spread(length: int, most: int) -> list[int]:
    """Return all places of a list, or `most` of them at equal distances."""
    return [length * number // most for number in range(most)] if length > most else list(range(length))


def _names(split: Split, indices: Tensor) -> list[str]:
    """Return a line for each image with the name of its file; "" where files hold many images, or none."""
    if split.files is None or len(set(split.files)) < len(split.files):
        return [""] * len(indices)
    return [f"\n{split.files[index].rsplit('/', 1)[-1]}" for index in indices.tolist()]


def draw_scores(scores: Scores, plots: Path) -> None:
    """Draw the plots that need only `evaluation.json`: confusion matrix and calibration."""
    names = [row["name"] for row in scores["classes"]]
    plot_confusion_matrix(scores["confusion_matrix"], names, plots / "confusion_matrix.png")
    error = scores["expected_calibration_error"]
    plot_calibration(scores["calibration"], error, plots / "calibration.png")


def draw_data(loader: TrainLoader, splits: Mapping[str, Split], classes: Sequence[str], plots: Path) -> None:
    """Draw how many images each class has, and training images. splits: by name."""
    counts = {name: torch.bincount(s.labels, minlength=len(classes)).tolist() for name, s in splits.items()}
    plot_classes(counts, classes, plots / "classes.png")
    _draw_samples(loader, classes, plots / "samples.png")


def _draw_samples(loader: TrainLoader, classes: Sequence[str], file: Path) -> None:
    """Draw the first training images as the network sees them, augmentation included."""
    images, targets = loader.samples(SHOWN)
    captions = [_caption(target, classes) for target in targets.cpu()]
    pictures = [Picture(*pair) for pair in zip(images, captions, strict=True)]
    plot_pictures(pictures, "Training images as the network sees them", file)


def most_confident_mistakes(predictions: Predictions) -> Tensor:
    """Return the indices (int64) of all wrong predictions, the highest probability first."""
    confidence, predicted = predictions.probabilities.amax(dim=1), predictions.logits.argmax(dim=1)
    wrong = (predicted != predictions.labels).nonzero().flatten()
    return wrong[confidence[wrong].argsort(descending=True, stable=True)]


def _pictures(
    indices: Tensor, seen: Tensor, predictions: Predictions, classes: Sequence[str]
) -> list[Picture]:
    """Return the images, `seen` by the network as uint8 (n, C, H, W), with their predictions."""
    pictures = []
    for image, index in zip(seen.cpu(), indices.tolist(), strict=True):
        true, predicted = int(predictions.labels[index]), int(predictions.logits[index].argmax())
        probability = float(predictions.logits[index].softmax(dim=0)[predicted])
        caption = f"{classes[predicted]} {probability:.0%}\n"
        caption += f"is {classes[true]}" if predicted != true else ""
        pictures.append(Picture(image, caption, predicted == true))
    return pictures


def _caption(target: Tensor, classes: Sequence[str]) -> str:
    """Return the class of a hard label, or the two classes and shares of a mixed one."""
    if not target.is_floating_point():
        return classes[int(target)]
    shares, found = target.topk(2)
    both = [(share, classes[i]) for share, i in zip(shares.tolist(), found.tolist(), strict=True) if share]
    return both[0][1] if len(both) == 1 else "\n".join(f"{share:.0%} {name}" for share, name in both)
