"""Builds everything that a run needs from its configuration. The only file that sees all of both."""

import dataclasses
import time
from collections.abc import Collection
from functools import partial

from torch import nn

from imclass.config.conflicts import unused
from imclass.config.plan import Plan
from imclass.config.schema import Config
from imclass.data.dataset import Data
from imclass.data.datasets import prepare_data
from imclass.data.loader import EvalLoader, build_eval_loader, build_train_loader
from imclass.errors import ConfigError
from imclass.evaluation.evaluate import evaluate
from imclass.machine.device import Compile, Device, resolve_device
from imclass.machine.processes import ALONE, Processes
from imclass.machine.randomness import seed_everything, use_deterministic_kernels
from imclass.machine.signals import STOP
from imclass.models.blocks import freeze
from imclass.runs.checkpoint import State
from imclass.runs.checkpointer import Checkpointer
from imclass.runs.folder import RunFolder
from imclass.runs.logger import RunLogger
from imclass.runs.trackers import open_trackers
from imclass.training.budget import within_budget
from imclass.training.checks import check_augmentation, check_batch, check_resolutions, check_times
from imclass.training.class_weights import class_weights, times_drawn
from imclass.training.ema import Ema
from imclass.training.losses import build_loss, loss_of_guessing
from imclass.training.optimizers import build_optimizer
from imclass.training.probe import lines_on_probe, on_features, probed_part
from imclass.training.rates import lines_on_rates
from imclass.training.resume import about_run, compare_headers, header_of, require_resumable, saved_state
from imclass.training.schedules import build_schedule
from imclass.training.setup import Setup
from imclass.training.start import build_network, lines_on_frozen
from imclass.training.step import Learner
from imclass.training.trainer import Trainer


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """A run, ready to start or to resume: the trainer, and what comes after training."""

    run: RunFolder
    trainer: Trainer
    logger: RunLogger
    checkpointer: Checkpointer
    test: EvalLoader
    device: Device
    data: Data
    resumed: bool
    started: float  # time.monotonic()


@STOP.at_once()
def build_job(run: RunFolder, processes: Processes = ALONE, typed: Collection[str] = ()) -> Job:
    """Build all components, create the run folder, and load the newest checkpoint if there is one.

    Every rank builds its own; only rank 0 touches the run folder. typed: as of `unused`.
    Raises UserError for whatever the data, the model or the checkpoints do not allow; the folder of a
    new run is created only when nothing of this is wrong.
    """
    started = time.monotonic() - _seconds_around_training(run)
    config = run.config
    data = build_data(config)
    STOP.nothing_to_save = False  # the ranks stop together from here on
    state, old, warnings = processes.broadcast(partial(saved_state, run))
    threads = old.get("threads") if old.get("processes") == processes.size else None
    device = find_device(config, data, threads=threads, compiled=old.get("compile"), processes=processes)
    header = header_of(config, data, device)
    warnings += [*compare_headers(old, header, run), *unused(config, typed)]
    run.config, notes = with_measured_steps(config, data, device)
    config = run.config
    setup = build_setup(config, data, device, resumed=bool(state))
    learner = setup.learner
    if state:
        require_resumable(state, old, learner, run)

    run = processes.broadcast(run.create)
    logger = _build_logger(run, state, enabled=processes.is_first)
    checkpointer = Checkpointer(
        run.checkpoints,
        header,
        about_run(run, data),
        last_saved_step=old.get("step"),
        warn=logger.console.warn,
        enabled=processes.is_first,
    )
    learner.notify = logger.console.line
    trainer = Trainer(
        learner,
        setup.loader,
        lambda model: evaluate(model.get_submodule(learner.part), setup.val, device),
        setup.plan,
        logger=logger,
        checkpointer=checkpointer,
    )
    for warning in warnings:
        logger.console.warn(warning)
    for note in notes:
        logger.console.line(note)
    if state:
        trainer.load_state_dict(state, lengthened=run.lengthened)
    return Job(run, trainer, logger, checkpointer, setup.test, device, data, bool(state), started)


def _seconds_around_training(run: RunFolder) -> float:
    """Return what the earlier sessions of a run took beside its steps and evaluations."""
    seconds = run.summary.get("seconds") if run.exists else None
    return max(0.0, seconds["total"] - seconds["train"] - seconds["evaluate"]) if seconds else 0.0


def find_device(
    config: Config,
    data: Data,
    *,
    threads: int | None = None,
    compiled: Compile | None = None,
    processes: Processes = ALONE,
) -> Device:
    """Return what `resolve_device` does for a training on `data`."""
    steps = Plan.of(config, len(data.train) // config.train.batch_size).steps
    return resolve_device(config.device, steps=steps, threads=threads, compiled=compiled, processes=processes)


def with_measured_steps(config: Config, data: Data, device: Device) -> tuple[Config, list[str]]:
    """Return what `within_budget` does where train.budget has yet to be measured."""
    if config.train.budget is None or config.train.steps is not None:
        return config, []
    return within_budget(build_setup(config, data, device))


def build_setup(config: Config, data: Data, device: Device, *, resumed: bool = False) -> Setup:
    """Build what trains on `data`. resumed: a checkpoint brings all weights next.

    Raises ConfigError for what the data and the model do not allow.
    """
    steps_per_epoch = len(data.train) // config.train.batch_size
    check_times(config, steps_per_epoch)
    plan = Plan.of(config, steps_per_epoch)
    learner = build_learner(config, data, device, plan.steps, steps_per_epoch, resumed=resumed)
    check_batch(config, learner)
    check_resolutions(config, learner, data)
    train = build_train_loader(data.train, data, config, device)
    val, test = (build_eval_loader(split, data, config, device) for split in (data.val, data.test))
    if learner.part:
        train, val = on_features(learner, train, val)
    return Setup(config, data, plan, learner, train, val, test)


def _build_logger(run: RunFolder, state: State, *, enabled: bool) -> RunLogger:
    """Open the logs of a run, cut back to where `state` was saved."""
    config = run.config.logger
    return RunLogger(
        run.path,
        state.get("logger", {}),
        quiet=config.quiet,
        tensorboard=config.tensorboard,
        trackers=partial(open_trackers, run),
        enabled=enabled,
    )


def build_data(config: Config) -> Data:
    """Load the data set, split it, and find mean and standard deviation of the training images."""
    data = prepare_data(config.dataset, config.seed)
    images = len(data.train)
    if config.train.batch_size > images:
        size = f"the training split ({images} images)"
        raise ConfigError([f"train.batch_size={config.train.batch_size}: larger than {size}"])
    check_augmentation(config, data.shape[0], min(data.shape[1:]))
    return data


def build_learner(
    config: Config, data: Data, device: Device, steps: int, steps_per_epoch: int, *, resumed: bool
) -> Learner:
    """Build model, loss, optimizer, schedule and average, on the device and in its memory format."""
    use_deterministic_kernels()
    seed_everything(config.seed, "weights")
    model, adapted = build_network(config, data, resumed=resumed)
    weights = class_weights(config, data)
    if config.device.sync_batch_norm:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    frozen = freeze(model, config.model.freeze)
    part = probed_part(config, model, data.shape)
    model = model.to(device.device)
    model = model.to(memory_format=device.memory_format)
    trained = model.get_submodule(part)
    device.compile_if_wanted(trained)
    return Learner(
        model=model,
        network=device.processes.parallel(trained),
        part=part,
        about=(
            *adapted,
            *lines_on_frozen(config.model, model, frozen),
            *lines_on_probe(config, part),
            *lines_on_rates(model, config.optimizer),
        ),
        loss=build_loss(config.train, weights).to(device.device),
        guessing=loss_of_guessing(config.train, times_drawn(config, data), weights),
        optimizer=build_optimizer(config.optimizer, model),
        schedule=build_schedule(config.scheduler, steps=steps, steps_per_epoch=steps_per_epoch),
        ema=Ema(model, config.train.ema),
        scaler=device.grad_scaler(),
        device=device,
        seed=config.seed,
        batch_size=config.train.batch_size,
        micro_batch=device.micro_batch or config.train.batch_size,
    )
