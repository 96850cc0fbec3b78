"""Do a trained model and what was exported of it answer the same?"""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from imclass.config.run_names import user_path
from imclass.data.dataset import Split, side_with_margin
from imclass.data.folder.decode import colour_of, decode_unresized, read_images
from imclass.errors import UserError
from imclass.evaluation.classifier import Classifier
from imclass.evaluation.evaluate import predictions_of
from imclass.evaluation.trained import Trained

TIE = 1e-4  # two classes whose probabilities differ by less may change places
AT_ONCE = 64  # pictures


@dataclass(frozen=True, slots=True)
class Agreement:
    """How predictions compare, image by image."""

    images: int
    equal: int  # the same likeliest class, or two that are tied
    ties: int  # of these
    largest: float  # difference between two probabilities
    differing: tuple[int, ...]  # images with another likeliest class


def compare(expected: Tensor, found: Tensor) -> Agreement:
    """Compare probabilities, float32 (N, classes)."""
    ours, theirs = expected.argmax(dim=1), found.argmax(dim=1)
    gap = (expected.gather(1, ours[:, None]) - expected.gather(1, theirs[:, None])).flatten()
    tied = (ours != theirs) & (gap <= TIE)
    differing = ((ours != theirs) & ~tied).nonzero().flatten().tolist()
    largest = float((expected - found).abs().max())
    return Agreement(len(ours), len(ours) - len(differing), int(tied.sum()), largest, tuple(differing))


def in_fp32(trained: Trained) -> Trained:
    """Return a copy of the model on the CPU, in the precision in which it is exported."""
    layout = torch.contiguous_format
    model = copy.deepcopy(trained.model).cpu().to(memory_format=layout)
    device = dataclasses.replace(
        trained.device, device=torch.device("cpu"), precision="fp32", memory_format=layout, compile=False
    )
    return dataclasses.replace(trained, model=model.eval(), device=device)


def classifier_of(trained: Trained) -> Classifier:
    """Return a model of `in_fp32` with its preprocessing."""
    config = trained.config.dataset
    return Classifier(trained.model, config, trained.shape, trained.mean, trained.std).eval()


def probabilities_of(trained: Trained, split: Split) -> Tensor:
    """Return the probabilities of a split through the run's own pipeline: float32 (N, classes)."""
    return predictions_of(trained.model, trained.loader(split), trained.device).probabilities


def answers(run: Callable[[Tensor], Tensor], pictures: Iterator[Tensor]) -> Tensor:
    """Return what an exported model returns for pictures, uint8 (H, W, C), in batches of one size each."""
    found: list[Tensor] = []
    batch: list[Tensor] = []
    with torch.inference_mode():
        for picture in pictures:
            if batch and (picture.shape != batch[0].shape or len(batch) == AT_ONCE):
                found.append(run(torch.stack(batch)))
                batch = []
            batch.append(picture)
        found.append(run(torch.stack(batch)))
    return torch.cat(found)


def pictures_of(trained: Trained, split: Split, root: str | None, *, own: bool) -> Iterator[Tensor]:
    """Yield the images of a split before any preprocessing, uint8 (H, W, C), RGB where the network sees grey.

    root, own: as of `Trained.split`. Those of folders are decoded from their files.
    """
    config = trained.config.dataset
    folder = root if root is not None else config.root
    if folder is not None and split.files and (not own or config.name == "image_folder"):
        base = _folder_of(user_path(folder), split.files[0])
        side = side_with_margin(trained.shape[1], config.centre) if config.name == "image_folder" else None
        decode = partial(decode_unresized, size=side, background=colour_of(config.background))
        for start in range(0, len(split.files), AT_ONCE):
            chunk = split.files[start : start + AT_ONCE]
            yield from (torch.from_numpy(a.copy()) for a in read_images(base, chunk, decode, "restore it"))
        return
    for image in chain.from_iterable(split.chunks()):
        channels = image.repeat(3, 1, 1) if len(image) == 1 else image
        yield channels.permute(1, 2, 0).contiguous()


def _folder_of(root: Path, name: str) -> Path:
    """Return the folder below which a picture is: that of a table, a folder, or one of its parts."""
    parts = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    for folder in [root, *parts] if root.is_dir() else [root.parent]:
        if (folder / name).is_file():
            return folder
    raise UserError(f"{root}: {name} is not there any more; --data FOLDER says where it is")
