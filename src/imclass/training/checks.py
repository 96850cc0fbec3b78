"""What a configuration asks of its data and model that they do not allow: known once both are there."""

from imclass.config.resolutions import parse_resolution
from imclass.config.schema import Config
from imclass.config.times import problems_of_times
from imclass.data.dataset import Data
from imclass.errors import ConfigError, UserError
from imclass.models.dry_run import check_fits
from imclass.training.step import Learner


def check_augmentation(config: Config, channels: int, side: int) -> None:
    """Raise ConfigError for augmentation that images of this shape cannot take."""
    augment = config.augment
    largest_crop = side - 1 if augment.crop_padding == "reflect" else side
    problems = [
        f"augment.{key}={getattr(augment, key)}: expected at most {limit} for images of {side}x{side}"
        for key, limit in (("crop", largest_crop), ("cutout", side - 1))
        if getattr(augment, key) > limit
    ]
    for_colours = ("randaugment", "trivialaugment", "contrast", "saturation")
    if channels not in (1, 3):
        keys = (key for key in for_colours if getattr(augment, key))
        problems += [f"augment.{key}: needs 1 or 3 channels, not {channels}" for key in keys]
    if problems:
        raise ConfigError(problems)


def check_batch(config: Config, learner: Learner) -> None:
    """Raise ConfigError when a forward pass would have fewer images than the model's layers need."""
    needed, why = learner.smallest_batch, f"{config.model.name} has batch norm, which needs at least 2 images"
    micro, batch, processes = learner.device.micro_batch, config.train.batch_size, learner.device.processes
    if micro is not None and micro < needed:
        raise ConfigError([f"device.micro_batch={micro}: {why}"])
    if batch // processes.size < needed:
        share = f"{processes.size} processes share these images; " if processes.size > 1 else ""
        why = why if needed > 1 else "each needs at least 1"
        raise ConfigError([f"train.batch_size={batch}: {share}{why}"])


def check_times(config: Config, steps_per_epoch: int) -> None:
    """Raise ConfigError for times that do not fit into the training: its data, or its pace, decide these."""
    if problems := [*problems_of_times(config, steps_per_epoch)]:
        raise ConfigError(problems)


def check_resolutions(config: Config, learner: Learner, data: Data) -> None:
    """Raise ConfigError for a resolution that is not lower or does not suit the model, or uneven sides."""
    channels, size, width = data.shape
    if config.train.resolutions and width != size:
        wanted = f"expected square images, not {size}x{width}; dataset.resize={size} makes them square"
        raise ConfigError([f"train.resolutions: {wanted}"])
    for entry in config.train.resolutions:
        side, _ = parse_resolution(entry)
        if side >= size:
            raise ConfigError(
                [f"train.resolutions: {entry}: expected below the {size} pixels of the data set"]
            )
        try:
            check_fits(learner.model, config.model.name, (channels, side, side), len(data.classes))
        except UserError as error:
            reason = f"{config.model.name} does not work on images of {side}x{side}"
            raise ConfigError([f"train.resolutions: {entry}: {reason}"]) from error
