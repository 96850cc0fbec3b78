"""A trained model's predictions for picture files."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from imclass.data.dataset import Split
from imclass.data.folder.decode import strict_images
from imclass.data.folder.pictures import read_picture
from imclass.errors import UserError
from imclass.evaluation.evaluate import logits_of
from imclass.evaluation.trained import Trained


class Predicted(NamedTuple):
    """A picture, uint8 (C, H, W) as the network sees it, and its probabilities, float32 (classes,)."""

    file: Path
    image: Tensor
    probabilities: Tensor


def predict_files(
    trained: Trained, files: Sequence[Path], unreadable: Callable[[Path, UserError], None]
) -> Iterator[Predicted]:
    """Yield a prediction for each picture in order, as batches are predicted.

    unreadable: is called with each file that is no picture, and why.
    """
    size = trained.config.train.batch_size
    for start in range(0, len(files), size):
        pictures = _read(trained, files[start : start + size], unreadable)
        if not pictures:
            continue
        images = torch.stack(list(pictures.values()))
        batches = trained.loader(Split(images, torch.zeros(len(images), dtype=torch.int64), None))
        logits = torch.cat([logits_of(trained.model, batch, trained.device) for batch, _ in batches])
        for (file, image), row in zip(pictures.items(), logits.softmax(dim=1).cpu(), strict=True):
            yield Predicted(file, image, row)


def _read(
    trained: Trained, files: Sequence[Path], unreadable: Callable[[Path, UserError], None]
) -> dict[Path, Tensor]:
    pictures: dict[Path, Tensor] = {}
    for file in files:
        try:
            with strict_images():
                pictures[file] = read_picture(file, trained.config.dataset, trained.shape)
        except UserError as error:
            unreadable(file, error)
    return pictures
