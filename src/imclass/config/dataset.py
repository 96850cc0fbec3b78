"""Settings of the data set. See `schema.py`."""

from dataclasses import dataclass, field
from typing import Any, Literal

from imclass.config.setting import setting


def _is_shape(shape: list[int]) -> bool:
    return shape[0] >= 1 and min(shape[1:]) >= 8


@dataclass(slots=True, kw_only=True)
class SyntheticConfig:
    shape: list[int] = setting(
        [3, 32, 32],
        "size of the images",
        length=3,
        accepts=_is_shape,
        allowed="[channels, height, width] with sides of at least 8",
        only_with=("synthetic",),
    )
    classes: int = setting(10, "classes, each with a random pattern", at_least=2, only_with=("synthetic",))
    train: int = setting(1024, "training images", at_least=1, only_with=("synthetic",))
    test: int = setting(256, "test images", at_least=1, only_with=("synthetic",))


def _is_val_split(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value)
    return value == "test" or (0 < value < 1 if isinstance(value, float) else value >= 1)


@dataclass(slots=True, kw_only=True)
class DatasetConfig:
    name: str = setting("fashion_mnist_mini", "the data set")
    root: str | None = setting(
        None,
        "folder of the data; of image_folder also a table, .csv or .parquet, with columns file, label and, "
        "if you like, split and group; null: $IMCLASS_DATA, ./data, then the usual places of this system",
        only_with=("image_folder", "fashion_mnist", "cifar10", "cifar100"),
        optional=True,
        affects_results=False,  # the fingerprint of the data guards what is found there
        also_called=("data_dir", "data", "path"),
    )
    download: bool = setting(
        True,
        "download what is not found",
        only_with=("fashion_mnist", "cifar10", "cifar100"),
        affects_results=False,
    )
    val_split: float | int | Literal["test"] | list[str] = setting(
        0.1,
        "validation data",
        accepts=_is_val_split,
        allowed="a fraction between 0 and 1, a count, test, or a list of file patterns",
        overridden_by=("dataset.folds",),
    )
    folds: int | None = setting(
        None,
        "cross-validation: parts of all but the test images, of which one is the validation data",
        at_least=2,
        at_most=1000,
    )
    fold: int = setting(
        0,
        "that part; -m dataset.fold='range(5)' trains on each",
        at_least=0,
        needs="dataset.folds",
        compared=False,
    )
    test_split: float = setting(
        0.1, "fraction held out where there are no test images", above=0, below=1, only_with=("image_folder",)
    )
    on_damaged: Literal["fail", "skip"] = setting(
        "fail",
        "an image that cannot be decoded ends the run, or is left out and counted",
        only_with=("image_folder",),
        affects_results=False,  # the fingerprint of the data guards which images are left
    )
    balance: bool = setting(
        False,
        "draw every class equally often: a small one repeats its images within an epoch, a large one shows a "
        "part of them",
        also_called=("balanced", "oversample"),
    )
    at_most: int | None = setting(
        None,
        "images of each of train, val and test, taken from all classes; the others are not read",
        at_least=2,
    )
    background: Literal["white", "black", "ignore"] | list[int] = setting(
        "white",
        "what shows through transparent pixels; ignore: their stored colour",
        at_least=0,
        at_most=255,
        accepts=lambda value: isinstance(value, str) or len(value) == 3,
        allowed="white, black, ignore, or [R,G,B] from 0 to 255",
        only_with=("image_folder",),
        free_on_resume=True,  # the fingerprint of the data guards what it changes
    )
    fraction: float = setting(1.0, "train on this stratified part of the training data", above=0, at_most=1)
    resize: int | None = setting(
        None,
        "side in pixels for the network; null: as they are",
        at_least=8,
        at_most=4096,
        also_called=("size",),
    )
    centre: float = setting(
        1.0,
        "share of a picture's side that the network sees in evaluation; resized crops come from all of it",
        at_least=0.5,
        at_most=1,
        only_with=("image_folder",),
        also_called=("crop_pct", "center"),
    )
    mean: list[float] | None = setting(
        None,
        "mean of each channel, subtracted; null: of the training images",
        at_least=0,
        at_most=1,
        allowed="a list of numbers from 0 to 1, one per channel",
    )
    std: list[float] | None = setting(
        None,
        "standard deviation of each channel; null: of the training images",
        above=0,
        at_most=1,
        allowed="a list of numbers above 0 and at most 1, one per channel",
    )
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
