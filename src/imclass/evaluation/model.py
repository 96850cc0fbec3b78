"""What Python programs get: a trained model that predicts pictures, and a run that has ended."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from imclass.data.folder.decode import Source
from imclass.errors import UserError
from imclass.evaluation.pictures import predict_pictures
from imclass.evaluation.trained import Trained, open_trained
from imclass.runs.records import find_run, read_summary


class Predictions(NamedTuple):
    """The likeliest class of each picture, and all its probabilities.

    probabilities: float32 (pictures, classes), in the order of `Model.classes`, rows of sum 1.
    """

    classes: list[str]
    probabilities: NDArray[np.float32]


class Model:
    """A trained model with its preprocessing; `load` opens it."""

    def __init__(self, trained: Trained):
        self._trained = trained

    @property
    def path(self) -> Path:
        """The run folder."""
        return self._trained.path

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the probabilities."""
        return self._trained.classes

    @property
    def network(self) -> nn.Module:
        """The network in evaluation mode: normalised float32 images (N, C, H, W) -> logits (N, classes)."""
        return self._trained.model

    def predict(self, pictures: Source | Iterable[Source]) -> Predictions:
        """Predict files and images of Pillow, of any size and mode, as `imclass predict` does.

        Large JPEG files are decoded at a part of their size: opened, they may give slightly other
        probabilities. Raises UserError naming what is no picture.
        """
        if isinstance(pictures, str) or not isinstance(pictures, Iterable):
            given = [_checked(pictures)]
        else:
            given = [_checked(picture) for picture in pictures]
        rows = [row for _, _, row in predict_pictures(self._trained, given, _refuse)]
        probabilities = np.empty((len(rows), len(self.classes)), np.float32)
        for number, row in enumerate(rows):
            probabilities[number] = row.numpy()
        return Predictions([self.classes[index] for index in probabilities.argmax(axis=1)], probabilities)

    def __repr__(self) -> str:
        return f"<Model {self._trained.config.model.name} of {self.path}, {len(self.classes)} classes>"


def _checked(picture: object) -> Path | Image.Image:
    if isinstance(picture, str | os.PathLike):
        return Path(picture)
    if isinstance(picture, Image.Image):
        return picture
    kind = type(picture).__name__
    raise UserError(f"{kind}: expected paths or images of Pillow; of arrays, PIL.Image.fromarray makes them")


def _refuse(picture: Path | Image.Image, error: UserError) -> NoReturn:
    raise UserError(f"{picture}: {error}") from error


def load(run: str | Path, weights: str | Path = "best") -> Model:
    """Open the model of a run: its folder, or its name under outputs/.

    weights: best, last, or a file of weights. On the run's hardware it computes as the run did.
    Raises UserError for a folder without a trained model, and damaged or other weights.
    """
    return Model(open_trained(find_run(str(run)), str(weights)))


@dataclass(frozen=True)
class FinishedRun:
    """A run that has ended well; `train` returns it."""

    path: Path

    @cached_property
    def summary(self) -> dict[str, Any]:
        """summary.json: status, best, val, test, seconds, images_per_second and more."""
        return read_summary(self.path)

    @cached_property
    def model(self) -> Model:
        """The model with its best weights."""
        return load(self.path)
