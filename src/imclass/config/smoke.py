"""train.smoke: the configuration of a run through every phase in seconds."""

import dataclasses

from imclass.config.resolutions import parse_resolution
from imclass.config.schema import Config, TrainConfig

IMAGES, BATCH, STEPS, EVALUATIONS = 64, 8, 6, 2
ENDING = "_smoke"  # of the run's name, so that the run itself can have the name


def smoke_run(config: Config) -> Config:
    """Return `config` with few images and steps; all else is as it is. Of such a run, return its own."""
    train, data, default = config.train, config.dataset, TrainConfig()
    sides = [parse_resolution(entry)[0] for entry in train.resolutions]
    shares = [100 * (number + 1) / (len(sides) + 1) for number in range(len(sides))]
    by_file = isinstance(data.val_split, list) and data.name == "image_folder"  # it may match none of the few
    return dataclasses.replace(
        config,
        name=config.name and config.name.removesuffix(ENDING)[: 100 - len(ENDING)] + ENDING,
        dataset=dataclasses.replace(
            data,
            at_most=min(IMAGES, data.at_most or IMAGES),
            fraction=1.0,
            val_split=0.25 if by_file or isinstance(data.val_split, float | int) else data.val_split,
        ),
        train=dataclasses.replace(
            train,
            epochs=default.epochs,
            budget=None,
            steps=STEPS,
            batch_size=min(BATCH, train.batch_size),
            resolutions=[f"{side}:{share:.4g}%" for side, share in zip(sides, shares, strict=True)],
            eval_every=f"{STEPS // EVALUATIONS}st",
            log_every="1st",
        ),
        checkpoint=dataclasses.replace(config.checkpoint, every=f"{STEPS // EVALUATIONS}st"),
    )
