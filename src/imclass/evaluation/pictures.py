"""A trained model's predictions for pictures."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor

from imclass.data.dataset import Split
from imclass.data.folder.decode import strict_images
from imclass.data.folder.pictures import read_picture
from imclass.errors import UserError
from imclass.evaluation.evaluate import logits_of
from imclass.evaluation.trained import Trained

Given = TypeVar("Given", bound=Path | Image.Image)


def predict_pictures(
    trained: Trained, given: Sequence[Given], unreadable: Callable[[Given, UserError], None]
) -> Iterator[tuple[Given, Tensor, Tensor]]:
    """Yield each file or image in order, with its pixels and its probabilities, as batches are predicted.

    Pixels are uint8 (C, H, W) as the network sees them, probabilities float32 (classes,).
    unreadable: is called with each file that is no picture, and why.
    """
    size = trained.config.train.batch_size
    for start in range(0, len(given), size):
        pictures = _read(trained, given[start : start + size], unreadable)
        if not pictures:
            continue
        images = torch.stack([image for _, image in pictures])
        batches = trained.loader(Split(images, torch.zeros(len(images), dtype=torch.int64), None))
        logits = torch.cat([logits_of(trained.model, batch, trained.device) for batch, _ in batches])
        for (source, image), row in zip(pictures, logits.softmax(dim=1).cpu(), strict=True):
            yield source, image, row


def _read(
    trained: Trained, given: Sequence[Given], unreadable: Callable[[Given, UserError], None]
) -> list[tuple[Given, Tensor]]:
    pictures: list[tuple[Given, Tensor]] = []
    for source in given:
        try:
            with strict_images():
                pictures.append((source, read_picture(source, trained.config.dataset, trained.shape)))
        except UserError as error:
            unreadable(source, error)
    return pictures
