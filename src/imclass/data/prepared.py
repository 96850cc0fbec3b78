"""A data set as a run uses it: loaded, split, with its size and its normalisation."""

from dataclasses import dataclass

from imclass.config.schema import DatasetConfig
from imclass.data.dataset import Dataset, Split
from imclass.data.datasets import load_dataset
from imclass.data.splits import Splits, channel_mean_std, split_dataset
from imclass.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Data:
    """The splits of a run, and how their images are normalised."""

    dataset: Dataset
    splits: Splits
    size: tuple[int, int]  # height and width of the images as the network sees them
    mean: list[float]  # per channel, on a scale of 0 to 1
    std: list[float]

    @property
    def parts(self) -> tuple[Split, Split, Split]:
        """Training, validation and test split."""
        return self.splits.train, self.splits.val, self.splits.test

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images as the network sees them."""
        return self.splits.train.images.shape[1], *self.size


def prepare_data(config: DatasetConfig, seed: int) -> Data:
    """Load and split the data set; mean and std are those of the training images unless they are given.

    One given value stands for all channels. Raises UserError for whatever the data do not allow.
    """
    dataset = load_dataset(config)
    splits = split_dataset(dataset, config, seed)
    channels, height, width = splits.train.images.shape[1:]
    size = (config.resize, config.resize) if config.resize else (height, width)
    mean, std = config.mean, config.std
    if mean is None or std is None:
        mean, std = channel_mean_std(splits.train.images)
        std = [s or 1.0 for s in std]  # a channel without contrast stays 0
    if len(mean) == 1:
        mean, std = mean * channels, std * channels
    if len(mean) != channels:
        raise ConfigError(
            [f"dataset.mean={mean}: {len(mean)} values, but the images have {channels} channels"]
        )
    return Data(dataset, splits, size, mean, std)
