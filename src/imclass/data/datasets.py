"""The data sets by name. Other packages add theirs through the entry points `imclass.datasets`.

A loader takes the section `dataset` of the configuration and returns a `Dataset`. `dataset.resize` is
applied to each batch, so that it takes no memory; only image folders are resized as they are decoded.
"""

from collections.abc import Callable

from imclass.config.groups import component
from imclass.config.schema import SETTINGS, DatasetConfig
from imclass.data.cifar import load_cifar10, load_cifar100
from imclass.data.dataset import Data, Dataset, channel_mean_std
from imclass.data.fashion_mnist import load_fashion_mnist, load_fashion_mnist_mini
from imclass.data.few import with_few_images
from imclass.data.folder.dataset import load_image_folder
from imclass.data.splits import split_dataset
from imclass.data.synthetic import load_synthetic
from imclass.errors import ConfigError

DATASETS: dict[str, Callable[[DatasetConfig], Dataset]] = {
    "fashion_mnist_mini": load_fashion_mnist_mini,
    "fashion_mnist": load_fashion_mnist,
    "cifar10": load_cifar10,
    "cifar100": load_cifar100,
    "image_folder": load_image_folder,
    "synthetic": load_synthetic,
}

WITHOUT_ROOT = DATASETS.keys() - {*SETTINGS["dataset.root"].only_with}


def prepare_data(config: DatasetConfig, seed: int) -> Data:
    """Load and split the data set, and find how to normalise it.

    Raises UserError when the data set is unknown, its files are missing, damaged or inconsistent, or the
    settings do not fit it.
    """
    dataset = load_dataset(config)
    train, val, val_source = split_dataset(dataset, config, seed)
    channels, *sides = train.stored.shape[1:]
    height, width = (round(side * config.centre) for side in sides)
    if config.resize:
        height = width = config.resize
    mean, std = config.mean, config.std
    if mean is None or std is None:
        mean, std = channel_mean_std(train)
        std = [s or 1.0 for s in std]  # a channel without contrast stays 0
    if len(mean) == 1:  # for all channels
        mean, std = mean * channels, std * channels
    if len(mean) != channels:
        raise ConfigError(
            [f"dataset.mean={mean}: {len(mean)} values, but the images have {channels} channels"]
        )
    shape = (channels, height, width)
    return Data(
        train,
        val,
        dataset.test,
        val_source,
        dataset.classes,
        shape,
        mean,
        std,
        dataset.fingerprint,
        dataset.test_name,
    )


def load_dataset(config: DatasetConfig) -> Dataset:
    """Load the data set `config.name`: one of `DATASETS`, else one that an installed package adds.

    Of each part, at most `config.at_most` images.

    Raises UserError when there is no such data set, or its files are missing, damaged or inconsistent.
    """
    dataset = component("dataset", config.name, DATASETS, Dataset)(config)
    return dataset if config.at_most is None else with_few_images(dataset, config.at_most)
