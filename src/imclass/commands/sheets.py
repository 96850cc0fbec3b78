"""The sheets that `imclass predict` draws: predictions (--sheet), and what they rest on (--explain)."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imclass.commands.arguments import require_new_file
from imclass.errors import UserError, counted
from imclass.evaluation.prediction_rows import Prediction

if TYPE_CHECKING:
    from imclass.evaluation.trained import Trained
    from imclass.reports.plots import Picture

ON_SHEET = 200  # pictures


class Shown:
    """The pictures of a sheet: all, or ON_SHEET: errors first, then evenly over the predicted classes."""

    def __init__(self) -> None:
        self.count = self.errors = 0  # of all pictures
        self._errors: dict[int, list[tuple[int, Prediction]]] = {}
        self._others: dict[int, list[tuple[int, Prediction]]] = {}

    def add(self, prediction: Prediction, predicted: int) -> None:
        """Take a picture; where there is no place left, the last one of the most frequent class goes.

        predicted: the index of its class. Errors stay as long as anything else can go: they are what a sheet
        is looked at for.
        """
        self.count += 1
        wrong = prediction.right is False
        self.errors += wrong
        (self._errors if wrong else self._others).setdefault(predicted, []).append((self.count, prediction))
        if self.count > ON_SHEET:
            kept = self._others if any(self._others.values()) else self._errors
            max(kept.values(), key=len).pop()

    def chosen(self) -> list[tuple[Prediction, int]]:
        """Return the predictions in the order in which they came, each with its predicted class."""
        kept = (*self._errors.items(), *self._others.items())
        rows = [(at, prediction, name) for name, own in kept for at, prediction in own]
        return [(prediction, name) for _, prediction, name in sorted(rows, key=lambda row: row[0])]

    @property
    def part(self) -> str:
        """Return how much of all is shown: '200 of 401 pictures, 2 of 2 errors'; "" for everything."""
        if self.count <= ON_SHEET:
            return ""
        shown = sum(map(len, self._errors.values()))
        of_errors = f", {shown:,} of {counted(self.errors, 'error')}" if self.errors else ""
        return f"{ON_SHEET:,} of {counted(self.count, 'picture')}{of_errors}"


def check_sheets(sheets: Mapping[str, Path]) -> None:
    """Raise UserError for a sheet that cannot be written, or would replace a file or the other sheet."""
    for name, file in sheets.items():
        require_new_file(f"--{name}", file, ".png")
    if len({file.resolve() for file in sheets.values()}) < len(sheets):
        raise UserError(f"--explain {sheets['explain']}: is the file of --sheet; name another one")


def require_maps(trained: "Trained") -> None:
    """Raise UserError for a model that no heat map can be made of."""
    from imclass.evaluation.heat_map import has_maps

    if not has_maps(trained.model, trained.shape, trained.device):
        raise UserError(
            f"--explain: {trained.config.model.name} has no feature maps behind its first convolution, "
            "which Grad-CAM needs; leave it out"
        )


def draw_sheet(trained: "Trained", shown: Shown, file: Path, *, explain: bool) -> None:
    """Draw a sheet as a PNG. explain: as the network sees the pictures, with what its predictions rest on."""
    from imclass.reports.plots import heat_legend, plot_pictures

    chosen = shown.chosen()
    pictures = _pictures([prediction for prediction, _ in chosen])
    if explain:
        from imclass.evaluation.heat_map import explain as explain_images

        maps = explain_images(trained, [p.image for p in pictures], [predicted for _, predicted in chosen])
        pictures = [p._replace(image=seen, heat=heat) for p, (seen, heat) in zip(pictures, maps, strict=True)]
    cut = f", {shown.part}, errors first, then evenly over the predicted classes" if shown.part else ""
    known = "; the true classes are known" if any(picture.right is not None for picture in pictures) else ""
    title = f"Predictions of {trained.path.name}{cut}{known}{heat_legend(pictures)}"
    plot_pictures(pictures, title, file)
    print(f"sheet written to {file}{f': {shown.part}' if shown.part else ''}", file=sys.stderr)


def _pictures(predictions: Sequence[Prediction]) -> "list[Picture]":
    """Return the images with their predictions, marked right or wrong if the true class is known.

    A file name that others on the sheet have, too, is written with its folder.
    """
    from imclass.reports.plots import Picture

    names = Counter(prediction.file.name for prediction in predictions)
    pictures = []
    for p in predictions:
        name, probability = p.top[0]
        truth = f"is {p.truth}\n" if p.right is False else ""
        file = p.file.name if names[p.file.name] == 1 else f"{p.file.absolute().parent.name}/{p.file.name}"
        pictures.append(Picture(p.image, f"{name} {probability:.0%}\n{truth}{file}", p.right))
    return pictures
