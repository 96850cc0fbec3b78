"""The lines that open a run, and those that end it."""

import shlex
from collections.abc import Mapping
from typing import Any

from torch import nn

from imclass.config.durations import clock, parse_duration
from imclass.config.metric import METRICS, by_class_in_words
from imclass.config.schema import Config
from imclass.config.setting import show
from imclass.data.dataset import Data
from imclass.errors import counted
from imclass.models.summary import describe
from imclass.runs.folder import RunFolder
from imclass.training.build import Job
from imclass.training.class_weights import class_weights
from imclass.training.setup import Setup
from imclass.training.trainer import Trainer

Summary = dict[str, Any]
SHOWN = 3  # names of damaged images
UNEVEN = 10  # times as many images as another class has
SMOKE = "a few images and steps, to try every phase: its figures mean nothing"


def banner(job: Job) -> str:
    """Return the lines that open a run: model, data, device and what was chosen for it, output."""
    run, trainer = job.run, job.trainer
    lines = about(run.config, job.data, trainer)
    lines += [f"output   {run.path}", *(f"{t.name:8} {t.where}" for t in trainer.logger.trackers)]
    lines += [*(f"changed  {change}" for change in run.changes.values())]
    if job.resumed:
        lines.append(f"resuming at step {trainer.progress.step:,} (epoch {trainer.epoch:.2f})")
    return "\n".join(lines)


def about(config: Config, data: Data, training: Setup | Trainer) -> list[str]:
    """Return the lines on a training that hold without a run: model, data, length, device."""
    plan, device = training.plan, training.learner.device
    model = describe(training.learner.model, data.shape)
    sizes = f"{len(data.train):,} train, {len(data.val):,} val, {len(data.test):,} test"
    size = "x".join(map(str, data.shape))
    size_of_job = device.processes.size
    epochs = plan.steps / training.loader.steps_per_epoch
    return [
        f"model    {config.model.name}: {model.parameters:,} parameters, {model.multiply_adds / 1e6:,.1f} M "
        f"multiply-adds per {size} image",
        f"stem     {_stem(config, data, training.learner.model)}",
        *training.learner.about,
        f"data     {config.dataset.name}: {len(data.classes)} classes; {sizes} images; "
        f"validation: {data.val_source}" + (f"; test: {data.test_source}" if data.test_source else ""),
        *_skipped(config, data),
        *_classes(config, data),
        f"training {counted(plan.steps, 'step')} of {counted(config.train.batch_size, 'image')} "
        f"({epochs:.4g} {'epoch' if epochs == 1 else 'epochs'}), {config.optimizer.name} "
        f"lr {config.optimizer.lr:g}, {config.scheduler.name}",
        *([f"smoke    {SMOKE}"] if config.train.smoke else []),
        f"device   {device.device} ({device.hardware}), {device.precision}, "
        f"{counted(device.threads, 'CPU thread')}"
        + (f", in each of {size_of_job} processes" if size_of_job > 1 else ""),
        *(f"         {reason}" for reason in device.reasons),
    ]


def _skipped(config: Config, data: Data) -> list[str]:
    """Return the lines that count the damaged images left out and name the first."""
    counts = data.skipped
    if not counts:
        return []
    parts = (data.train, data.val, data.test)
    names = [show(entry) for entry in dict.fromkeys(entry for part in parts for entry in part.skipped)]
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [
        f"skipped  {_in_words(counts)}: {', '.join(names[:SHOWN])}{more}",
        f"         imclass data verify {shlex.quote(str(config.dataset.root))} lists all",
    ]


def _in_words(skipped: Mapping[str, int]) -> str:
    return f"damaged images: {', '.join(f'{count:,} of {part}' for part, count in skipped.items())}"


def last_block(summary: Summary, run: RunFolder) -> str:
    """Return the lines that end a finished run: its figures, where they lie, and what to try next."""
    path = shlex.quote(str(run.path))
    best, test, seconds = summary["best"], summary["test"], summary["seconds"]
    lacking, readings = summary.get("unwritten"), summary.get("test_readings") or 1
    stopped, chosen = summary.get("stopped"), METRICS[run.config.checkpoint.metric].brief
    advice = f"choose the length by the validation {chosen}"  # a test figure that decides is biased
    ended = f"; training ended early: {stopped}" if stopped else ""
    return "\n".join(
        [
            "",
            *([f"smoke run    {SMOKE}"] if run.config.train.smoke else []),
            f"best model   epoch {best['epoch']:.4g}, step {best['step']}{ended}",
            f"validation   {_figures(best, run.config)}",
            f"test         {_figures(test, run.config)}",
            *([f"tested       {readings} times: {advice}"] if readings > 1 else []),
            *([f"skipped      {_in_words(skipped)}"] if (skipped := summary.get("skipped")) else []),
            f"time         {clock(seconds['total'])} ({clock(seconds['train'])} training), "
            f"{summary['images_per_second']:,.0f} images/s",
            f"run folder   {path}",
            *([f"incomplete   {', '.join(lacking)}: the disk did not take all"] if lacking else []),
            "next",
            f"  look at the result        {path}/report.html",
            f"  look at every figure      tensorboard --logdir {path}",
            f"  use the model             imclass predict {path} FILE ...",
            f"  train it {_further(run, summary)}",
            "  see the other models      imclass list models",
        ]
    )


def _figures(figures: Mapping[str, float], config: Config) -> str:
    added = by_class_in_words(figures, config.checkpoint.metric)
    return f"accuracy {figures['accuracy']:.2%}, loss {figures['loss']:.4f}{added}"


def _classes(config: Config, data: Data) -> list[str]:
    """Return the lines on what evens the classes out, or where they are uneven, on what to type."""
    counts = data.images_per_class
    least, most = (counts.index(count) for count in (min(counts), max(counts)))
    few, many = show(data.classes[least]), show(data.classes[most])
    sizes = f"{counts[least]:,} ({few}) to {counts[most]:,} ({many}) training images"
    lines = []
    if (weights := class_weights(config, data)) is not None:
        low, high = (weights.index(weight) for weight in (min(weights), max(weights)))
        ends = (f"{weights[n]:.3g} ({show(data.classes[n])})" for n in (low, high))
        lines.append(f"classes  weights in the loss: {' to '.join(ends)}")
    if config.dataset.balance:
        lines.append(f"classes  of {sizes}, drawn equally often")
    if lines or counts[most] < UNEVEN * counts[least]:
        return lines
    return [
        f"classes  of {sizes}; to learn all, type",
        "         dataset.balance=true or train.class_weights=auto, and to choose",
        "         the model by all, checkpoint.metric=balanced_accuracy",
    ]


def _stem(config: Config, data: Data, model: nn.Module) -> str:
    """Return the first layer's kernel and stride, and what chose them."""
    conv = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if conv is None:
        return "no convolution"
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    choice, size = config.model.stem, "x".join(map(str, data.shape[1:]))
    why = f"auto, for {size} images" if choice == "auto" else choice
    return f"{kernel}x{kernel} convolution, stride {stride} (model.stem={why})"


def _further(run: RunFolder, summary: Summary) -> str:
    """Return how a run is trained longer; a smoke run, for real."""
    if run.config.train.smoke:
        return "for real         the same command without train.smoke=true"
    return f"longer           imclass train resume={shlex.quote(str(run.path))} {longer(run.config, summary)}"


def longer(config: Config, summary: Summary) -> str:
    """Return the override that doubles what limited the training."""
    train = config.train
    if train.budget is not None:
        return f"train.budget={2 * parse_duration(train.budget).value:g}s"
    if train.max_time is not None and "max_time" in (summary.get("stopped") or ""):
        return f"train.max_time={2 * parse_duration(train.max_time).value:g}s"
    return f"train.steps={2 * train.steps}" if train.steps else f"train.epochs={2 * (train.epochs or 0):g}"
