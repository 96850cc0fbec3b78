"""Settings to begin with, chosen from what is known of a data set: each with its reason."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from imclass.config.schema import DatasetConfig, TrainConfig
from imclass.data.inspection.inspect import PARTS, Facts

STEPS = 2_000  # a training to begin with, unless that is fewer or more epochs than these
FEWEST_EPOCHS, MOST_EPOCHS = 10, 60
LARGE_BATCH, FROM_IMAGES = 64, 10_000
UNEVEN = 10  # times as many images in the largest class
LARGE, ON_CPU, ON_GPU = 96, 96, 224  # sides in pixels: of photographs, and at most to begin with
SMALL_ON_CPU = 48  # up to 64 pixels the first layer keeps the resolution, which costs the more
FEW = 500  # training images, below which one split says little
_SIDED = re.compile(r"(?i)(^|[^a-z])(left|right)([^a-z]|$)")


class Choice(NamedTuple):
    key: str  # of a setting, or the name of a group
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    choices: list[Choice]  # what differs from the defaults
    remarks: list[str]  # what to think of before figures are believed
    shape: tuple[int, int, int]  # channels, height, width that the network sees
    batch: int
    images: dict[str, int]  # of train, val and test, once the last two are held out
    word: str  # the folder or table as typed; "" of a named data set
    device: str = ""
    seconds: float = 0.0  # of training on this machine, with its evaluations


def suggest(facts: Facts, data: str, path: Path | None, root: str | None, *, gpu: bool) -> Suggestion:
    """Return the settings to begin with. path: of a folder or a table; None: `data` names a data set.

    root: where the files of a named data set are, if not in the usual places.
    """
    images, parts, usual = sum(facts.train.values()), _held_out(facts), TrainConfig().batch_size
    batch = LARGE_BATCH if images >= FROM_IMAGES else usual
    while batch > max(parts["train"] - facts.damaged, 1):
        batch //= 2
    epochs = min(max(round(STEPS * batch / max(images, 1)), FEWEST_EPOCHS), MOST_EPOCHS)
    choices = _data(facts, data, path, root)
    augment = _augment(facts)
    sizes = _size(facts, gpu=gpu) if path is not None else []
    choices += [*sizes, augment]
    if path is not None and augment.value == "photo":
        choices.append(Choice("dataset.centre", "0.875", "a margin for random crops"))
    if batch != usual:
        why = f"as there are {'many' if batch > usual else 'few'} images"
        choices.append(Choice("train.batch_size", str(batch), why))
    steps = epochs * max(parts["train"] // batch, 1)
    choices.append(Choice("train.epochs", str(epochs), f"{steps:,} steps, to begin with"))
    if facts.uneven >= UNEVEN:
        why = f"the largest class has {facts.uneven:.0f} times as many images as the smallest"
        choices.append(Choice("dataset.balance", "true", why))
        choices.append(Choice("checkpoint.metric", "balanced_accuracy", "every class counts the same"))
    side = next((int(choice.value) for choice in sizes if choice.key == "dataset.resize"), facts.shorter_side)
    shape = (1 if facts.grey else 3, side, side)
    word = data if path is not None else ""
    return Suggestion(choices, _remarks(facts, images), shape, batch, parts, word)


def _held_out(facts: Facts) -> dict[str, int]:
    """Return the images of train, val and test; where one of the last two is missing, it is held out."""
    counts = {part: sum(own.get(part, 0) for own in facts.counts.values()) for part in PARTS}
    default = DatasetConfig()
    assert isinstance(default.val_split, float)
    for part, share in (("test", default.test_split), ("val", default.val_split)):
        if not counts[part]:
            counts[part] = round(share * counts["train"])
            counts["train"] -= counts[part]
    return counts


def _data(facts: Facts, data: str, path: Path | None, root: str | None) -> list[Choice]:
    if path is None:
        place = [Choice("dataset.root", root, "where its files are")] if root is not None else []
        return [Choice("dataset", data, f"{facts.images:,} images"), *place]
    choices = [
        Choice("dataset", "image_folder", "files of your own"),
        Choice("dataset.root", str(path.absolute()), f"{facts.images:,} images"),
    ]
    if facts.damaged:
        choices.append(Choice("dataset.on_damaged", "skip", f"{facts.damaged:,} of them cannot be read"))
    return choices


def _size(facts: Facts, *, gpu: bool) -> list[Choice]:
    """Return the side in pixels, unless all pictures are squares of a side that is fine."""
    side = facts.shorter_side
    chosen = min(side, ON_GPU) if gpu else ON_CPU if side >= LARGE else min(side, SMALL_ON_CPU)
    chosen = max(chosen, 8)
    if [*facts.sizes] == [f"{chosen}x{chosen}"]:
        return []
    why = f"the median shorter side is {side} pixels; to begin with, on a {'GPU' if gpu else 'CPU'}"
    return [Choice("dataset.resize", str(chosen), why)]


def _augment(facts: Facts) -> Choice:
    if all(len(name) == 1 for name in facts.counts):
        return Choice("augment", "text", "classes named by one character look like text: no flips")
    if any(map(_SIDED.search, facts.counts)):
        return Choice("augment", "text", "classes named left or right: no flips")
    if _is_photo(facts):
        return Choice("augment", "photo", "crops, flips, colours; text and signs: augment=text")
    return Choice("augment", "crop_flip", "crops and flips; text, digits and signs: augment=text")


def _is_photo(facts: Facts) -> bool:
    return facts.shorter_side >= LARGE and not facts.grey


def _remarks(facts: Facts, images: int) -> list[str]:
    lines = []
    if len(facts.problems) > facts.damaged:
        lines.append("training refuses these problems, but for damaged files: mend them first")
    if 2 * facts.dark > facts.deep and facts.brightest:  # not a few dark ones among others
        which = (
            f"{facts.dark:,} of {facts.deep:,} pictures of 16 bits have no value above {facts.brightest:,}"
        )
        factor = 2 ** (16 - facts.brightest.bit_length())
        dim = "nearly black" if facts.brightest < 0x1000 else "dark"
        lines.append(f"{which} of 65,535 and are trained on as {dim}: multiply their values by {factor:,}")
    copies = [*facts.copies, *facts.near_copies]
    if any(len(own.parts) > 1 for own in copies):
        lines.append("one picture in two splits makes their accuracy too good: keep one")
    elif copies and len(facts.parts) == 1:
        lines.append("copies may fall into two splits: keep one, or list them in a table with a group column")
    if any(len(own.labels) > 1 for own in facts.copies):
        lines.append("one picture in two classes cannot be learned: keep the right one")
    if images < FEW:
        lines.append("so few images say little in one split: -m dataset.folds=5 dataset.fold='range(5)'")
    return lines
