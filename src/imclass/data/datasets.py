"""The data sets by name. Other packages add theirs through the entry points `imclass.datasets`.

Every loader takes the section `dataset` of the configuration and returns uint8 images in their own
size; nothing is normalised, shuffled or split here. `dataset.resize` is applied to each batch, so that a
data set needs no more memory for it (only an image folder's files are brought to it as they are decoded).
"""

from collections.abc import Callable
from importlib.metadata import entry_points

from imclass.config.schema import DatasetConfig
from imclass.data.cifar import load_cifar10, load_cifar100
from imclass.data.dataset import Dataset
from imclass.data.fashion_mnist import load_fashion_mnist, load_fashion_mnist_mini
from imclass.data.folder.dataset import load_image_folder
from imclass.data.synthetic import load_synthetic
from imclass.errors import UserError, did_you_mean

ENTRY_POINTS = "imclass.datasets"

DATASETS: dict[str, Callable[[DatasetConfig], Dataset]] = {
    "fashion_mnist_mini": load_fashion_mnist_mini,
    "fashion_mnist": load_fashion_mnist,
    "cifar10": load_cifar10,
    "cifar100": load_cifar100,
    "image_folder": load_image_folder,
    "synthetic": load_synthetic,
}

WITHOUT_ROOT = ("fashion_mnist_mini", "synthetic")  # nothing of theirs is read from `dataset.root`


def load_dataset(config: DatasetConfig) -> Dataset:
    """Load the data set `config.name`: one of `DATASETS`, else one that an installed package adds.

    Raises UserError when there is no such data set, or its files are missing, damaged or inconsistent.
    """
    if config.name in DATASETS:
        return DATASETS[config.name](config)
    added = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if config.name not in added:
        known = [*DATASETS, *added]
        raise UserError(
            f"dataset.name={config.name!r}: unknown data set{did_you_mean(config.name, known)} "
            f"(known: {', '.join(known)})"
        )
    dataset = added[config.name].load()(config)
    if not isinstance(dataset, Dataset):
        raise UserError(
            f"dataset.name={config.name!r}: the plug-in {added[config.name].value} returned no Dataset"
        )
    return dataset
