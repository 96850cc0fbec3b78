"""Settings that are each allowed but conflict with one another, with the data or with this machine."""

import contextlib
import ctypes
import os
import platform
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from imclass.config.data_root import is_table, near_path, problem_of_runs
from imclass.config.groups import group_choices, is_shipped, plugins
from imclass.config.model_names import model_problem
from imclass.config.run_names import is_run, similar_runs, user_path, weights_file
from imclass.config.schema import SETTINGS, SWEEP_SETTINGS, Config, SweepConfig, values_of
from imclass.config.setting import Setting, show
from imclass.config.times import problems_of_times
from imclass.config.trackers import missing_trackers
from imclass.errors import UserError, counted, did_you_mean

# Training images of the data sets whose size is known before they are read.
TRAIN_IMAGES = {"fashion_mnist_mini": 6_000, "fashion_mnist": 60_000, "cifar10": 50_000, "cifar100": 50_000}


def conflicts(config: Config, typed: Collection[str]) -> Iterator[str]:
    """Yield one line per conflict, naming the keys, and what to do.

    typed: the keys that may be refused for having no effect.
    """
    yield from _names(config)
    yield from _needs_value(config)
    yield from (line for key, line in _of_other_choices(config) if key in typed)
    if config.train.budget and config.train.steps and {"train.budget", "train.steps"} <= {*typed}:
        yield "train.budget, train.steps: two lengths of the training; keep one (null drops that of a file)"
    yield from _length(config)
    yield from _sizes(config)
    yield from _augmentation(config)
    yield from _classes(config)
    yield from _frozen(config)
    yield from _device(config)
    yield from _files(config)
    yield from missing_trackers(config)


def train_images(config: Config) -> int | None:
    """Return the size of the training split if it is known before the data are read."""
    data = config.dataset
    total = data.synthetic.train if data.name == "synthetic" else TRAIN_IMAGES.get(data.name)
    if total is None:
        return None
    total = min(total, data.at_most or total)
    if data.folds is not None:
        total -= total // data.folds + (data.fold < total % data.folds)
    elif isinstance(data.val_split, int):
        total -= data.val_split
    elif isinstance(data.val_split, float):
        total -= round(total * data.val_split)
    return round(total * data.fraction)


def _names(config: Config) -> Iterator[str]:
    if problem := model_problem(config.model.name):
        yield f"model.name={config.model.name}: {problem}"
    for group in ("dataset", "optimizer", "scheduler"):
        name, known = getattr(config, group).name, group_choices(group)
        if name not in known:
            near = did_you_mean(name, known)
            yield f"{group}.name={name}: no such {group}{near or '; see imclass list ' + group + 's'}"
    plugin, installed = config.augment.plugin, plugins("augment")
    if plugin is not None and plugin not in installed:
        near = did_you_mean(plugin, installed) or "; no installed package adds it"
        yield f"augment.plugin={show(plugin)}: no such augmentation{near}"


def _of_other_choices(config: Config) -> Iterator[tuple[str, str]]:
    """Yield each setting that the chosen component does not read and that is not at its default."""
    for setting, value, group, choice in _with_choices(config):
        if choice not in setting.only_with and value != setting.default:
            others = " or ".join(", ".join(setting.only_with).rsplit(", ", 1))
            yield setting.key, f"{setting.key}: has no effect with {group}={choice}, only with {others}"


def _needs_value(config: Config) -> Iterator[str]:
    for setting, value, group, choice in _with_choices(config):
        if choice in setting.only_with and value is None and not setting.optional:
            yield f"{setting.key}=null: {group}={choice} needs a value"


def _with_choices(config: Config) -> Iterator[tuple[Setting, Any, str, str]]:
    """Yield the settings that only some choices read, their values, their groups and what is chosen there.

    A plug-in reads what it likes.
    """
    values = values_of(config)
    groups = {group: values[f"{group}.name"] for group in ("dataset", "optimizer", "scheduler")}
    shipped = {group: name for group, name in groups.items() if is_shipped(group, name)}
    for setting in SETTINGS.values():
        group = setting.key.split(".")[0]
        if setting.only_with and group in shipped:
            yield setting, values[setting.key], group, shipped[group]


def unused(config: Config | SweepConfig, typed: Collection[str] = ()) -> list[str]:
    """Return a line for each setting that has no effect because of another one.

    typed: the keys that get a line even with their default value, except in a smoke run.
    """
    values, lines = values_of(config), []
    for setting in (SETTINGS | SWEEP_SETTINGS).values():
        value, needs = values.get(setting.key), setting.needs
        rival = next((key for key in setting.overridden_by if values.get(key)), None)
        is_typed = setting.key in typed and not values.get("train.smoke")  # it replaces what was typed
        if setting.key not in values or value is None or (value == setting.default and not is_typed):
            continue
        if needs and not values[needs]:
            lines.append(f"{setting.key}={show(value)} has no effect without {needs}")
        if rival:
            lines.append(f"{setting.key}={show(value)} has no effect with {rival}={show(values[rival])}")
    return lines


def _length(config: Config) -> Iterator[str]:
    train, images = config.train, train_images(config)
    if train.epochs is None and train.steps is None and train.budget is None:
        yield "train.epochs, train.steps, train.budget: all null; set one to say how long to train"
    elif images is not None and images >= train.batch_size:
        yield from problems_of_times(config, images // train.batch_size)


def _sizes(config: Config) -> Iterator[str]:
    data, images = config.dataset, train_images(config)
    if images is not None and images <= 0:
        yield f"dataset.val_split={data.val_split}: leaves no training images"
    elif images is not None and config.train.batch_size > images:
        split = f"the training split ({counted(images, 'image')})"
        yield f"train.batch_size={config.train.batch_size}: larger than {split}"
    if data.folds is not None and data.fold >= data.folds:
        last = data.folds - 1
        yield f"dataset.fold={data.fold}: expected 0 to {last} with dataset.folds={data.folds}"
    micro = config.device.micro_batch
    if isinstance(micro, int) and micro > config.train.batch_size:
        yield f"device.micro_batch={micro}: larger than train.batch_size={config.train.batch_size}"
    if data.mean is not None and data.std is not None and len(data.mean) != len(data.std):
        yield f"dataset.mean, dataset.std: {len(data.mean)} and {len(data.std)} values; expected equally many"
    if (data.mean is None) != (data.std is None):
        yield "dataset.mean, dataset.std: set both, or neither to compute them from the training images"
    if data.name == "image_folder" and data.root is None:
        yield "dataset.root=null: image_folder needs the folder of your class folders: dataset.root=FOLDER"


def _augmentation(config: Config) -> Iterator[str]:
    augment = config.augment
    for key in ("mixup", "cutmix"):
        if getattr(augment, key) > 0 and config.train.batch_size == 1:
            yield f"augment.{key}: mixes images of a batch, but train.batch_size=1"
    if augment.randaugment and augment.trivialaugment:
        yield "augment.randaugment, augment.trivialaugment: choose one of the two"
    if augment.crop and augment.resized_crop:
        yield "augment.crop, augment.resized_crop: choose one of the two; augment.crop=0 switches padding off"


def _classes(config: Config) -> Iterator[str]:
    weights = config.train.class_weights
    if config.dataset.balance and isinstance(weights, str):
        yield f"train.class_weights={weights}, dataset.balance=true: both even out the classes; choose one"


def _frozen(config: Config) -> Iterator[str]:
    model, optimizer = config.model, config.optimizer
    if model.freeze != "none" and model.weights is None and not model.pretrained:
        yield f"model.freeze={model.freeze}: of random weights; add model.weights=RUN or FILE"
    elif model.freeze != "none" and not model.weights_required and _missing_weights(config):
        yield f"model.freeze={model.freeze}: of random weights, as {_missing_weights(config)}"
    if model.freeze == "backbone":
        if optimizer.name == "muon":
            yield "optimizer=muon: it trains hidden layers, and model.freeze=backbone leaves none; use adamw"
        for key in ("backbone_lr_scale", "layer_decay"):
            if getattr(optimizer, key) != 1:
                yield f"optimizer.{key}: has no effect with model.freeze=backbone"


def _device(config: Config) -> Iterator[str]:
    device = config.device
    if device.type.startswith("cuda") and not _has_gpu_driver():
        yield f"device.type={device.type}: this machine has no CUDA driver; use device=cpu or device=auto"
    if device.type == "mps" and not _is_apple():
        yield "device.type=mps: needs an Apple silicon Mac; use device=cpu or device=auto"
    if device.type == "cpu" and device.precision == "fp16":
        yield "device.precision=fp16: needs a GPU; use bf16, fp32 or auto on device.type=cpu"
    if device.sync_batch_norm and device.type in ("cpu", "mps"):
        yield f"device.sync_batch_norm=true: torch has it for GPUs only, not for device.type={device.type}"
    cores = os.cpu_count() or 1
    if isinstance(device.threads, int) and device.threads > 4 * cores:
        yield f"device.threads={device.threads}: {cores} cores here; use auto, or at most {4 * cores}"


def _files(config: Config) -> Iterator[str]:
    weights, root = config.model.weights, config.dataset.root
    if config.model.weights_required and (problem := _missing_weights(config)):
        yield f"{problem} (model.weights_required=false starts without it)"
    if weights is not None and config.model.pretrained:
        yield "model.weights, model.pretrained: two sources of initial weights; choose one"
    if root is not None and config.dataset.name == "image_folder" and is_table(root):
        if not user_path(root).is_file():
            yield f"dataset.root={root}: no such file"
    elif root is not None and not user_path(root).is_dir():
        what = "not a folder" if user_path(root).exists() else f"no such folder{near_path(root)}"
        yield f"dataset.root={root}: {what}"
    elif root is not None and config.dataset.name == "image_folder" and not _is_begun(config):
        problem = problem_of_runs(user_path(root))
        yield from [f"dataset.root={root}: {problem}"] if problem else []
    if config.resume not in ("auto", "never") and not Path(config.resume).is_dir():
        yield f"resume={config.resume}: expected auto, never, or a run{similar_runs(config.resume)}"
    existing = next(
        p for p in [Path(config.output_dir), *Path(config.output_dir).absolute().parents] if p.exists()
    )
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        yield f"output_dir={config.output_dir}: {existing} is not a writable folder"


def _missing_weights(config: Config) -> str:
    """Return what is wrong with the file that model.weights of a new run names, "" if nothing is."""
    if config.model.weights is not None and not _is_begun(config):
        try:
            weights_file(config.model.weights)
        except UserError as error:
            return str(error)
    return ""


def _is_begun(config: Config) -> bool:
    """Return whether the run exists, in the folder of its name or moved: its checkpoints have its weights."""
    if config.resume not in ("auto", "never"):
        return is_run(Path(config.resume))
    return config.name is not None and is_run(Path(config.output_dir, config.name))


def _is_apple() -> bool:
    return sys.platform == "darwin" and platform.machine() == "arm64"


def _has_gpu_driver() -> bool:
    """Return whether the driver's library loads; torch is not imported."""
    for name in ("libcuda.so.1", "libamdhip64.so", "nvcuda.dll"):
        with contextlib.suppress(OSError):
            ctypes.CDLL(name)
            return True
    return False
