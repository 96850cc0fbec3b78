"""train.smoke: the configuration of a run through every phase in seconds."""

import dataclasses

from imclass.config.durations import parse_duration
from imclass.config.resolutions import parse_resolution
from imclass.config.schema import Config, TrainConfig

IMAGES, BATCH, STEPS, EVALUATIONS = 64, 8, 6, 2
ENDING = "_smoke"  # of the run's name, so that the run itself can have the name


def smoke_run(config: Config) -> Config:
    """Return `config` with few images and steps; all else is as it is. Of such a run, return its own."""
    train, data, default = config.train, config.dataset, TrainConfig()
    sides = [parse_resolution(entry)[0] for entry in train.resolutions]
    schedule, warmup = config.scheduler, parse_duration(config.scheduler.warmup)
    by_file = isinstance(data.val_split, list) and data.name == "image_folder"  # it may match none of the few
    return dataclasses.replace(
        config,
        name=config.name and config.name.removesuffix(ENDING)[: 100 - len(ENDING)] + ENDING,
        dataset=dataclasses.replace(
            data,
            at_most=min(IMAGES, data.at_most or IMAGES),
            fraction=1.0,
            folds=None,
            fold=0,
            val_split=0.25 if by_file or isinstance(data.val_split, float | int) else data.val_split,
        ),
        train=dataclasses.replace(
            train,
            epochs=default.epochs,
            budget=None,
            steps=STEPS,
            batch_size=min(BATCH, train.batch_size),
            resolutions=[f"{side}:{share}" for side, share in zip(sides, _spread(len(sides)), strict=True)],
            eval_every=f"{STEPS // EVALUATIONS}st",
            log_every="1st",
        ),
        scheduler=dataclasses.replace(
            schedule,
            warmup=schedule.warmup if warmup.unit == "%" or not warmup.value else "30%",
            milestones=schedule.milestones and _spread(len(schedule.milestones)),
        ),
        checkpoint=dataclasses.replace(config.checkpoint, every=f"{STEPS // EVALUATIONS}st"),
    )


def _spread(count: int) -> list[str]:
    """Return times that divide the training evenly: 50%, or 33.33% and 66.67%."""
    return [f"{100 * number / (count + 1):.4g}%" for number in range(1, count + 1)]
