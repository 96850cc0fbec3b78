"""What surrounds training: the header before it; test, files and last block after it."""

import contextlib
import dataclasses
import json
import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from imclass.assessment import SHOWN, write_assessment
from imclass.build import Job
from imclass.checkpoint import read_checkpoint, read_header
from imclass.checks import flatten
from imclass.config import Config
from imclass.durations import parse_duration
from imclass.errors import Diverged, Interrupted
from imclass.evaluation import predictions_of
from imclass.models.summary import describe, format_summary
from imclass.pages import write_run_page
from imclass.plots import Picture, plot_curves, plot_pictures
from imclass.provenance import provenance
from imclass.records import read_metrics
from imclass.result import Result
from imclass.rundir import RunDir, write_atomically
from imclass.trainer import Trainer

Summary = dict[str, Any]


def begin(job: Job) -> None:
    """Show what will run, and write provenance, the first summary and TensorBoard's first page."""
    console = job.trainer.logger.console
    console.line(header(job))
    if job.run.config.model.summary:
        console.line(format_summary(job.trainer.learner.model, job.data.shape))
    config_text = OmegaConf.to_yaml(dataclasses.asdict(job.run.config))
    if not job.resumed:
        origin = provenance(job.device, job.data.dataset.fingerprint)
        write_atomically(job.run.path / "provenance.json", json.dumps(origin, indent=2) + "\n")
        job.trainer.logger.tensorboard.text("config", f"```yaml\n{config_text}\n```")
        _plot_samples(job)
    _write_summary(job, "running")


def conclude(job: Job) -> None:
    """Read the test set once, with the best weights; write what the run leaves; show its last block."""
    trainer, run = job.trainer, job.run
    best = read_checkpoint(trainer.checkpointer.best)
    _use_figures_of(trainer, read_header(trainer.checkpointer.best))
    model = trainer.learner.ema.module
    model.load_state_dict(best["model"])
    predictions = predictions_of(model, job.test, job.device)
    test = predictions.result
    trainer.stopwatch.book("evaluate")
    trainer.logger.evaluated("test", trainer.progress.step, trainer.epoch, test)
    _export_safetensors(run.path / "best.safetensors", best, trainer.progress.best)
    figures = {"best/val_accuracy": trainer.progress.best["accuracy"], "best/test_accuracy": test.accuracy}
    trainer.logger.tensorboard.hparams(flatten(dataclasses.asdict(run.config)), figures)
    about = {"split": "test", "weights": "best", "tta": "none", "data": None}
    write_assessment(run.path, job.data.splits.test, predictions, job.data.dataset.classes, about)
    plot_curves(read_metrics(trainer.logger.metrics.path), trainer.progress.best, run.plots / "curves.png")
    trainer.logger.tensorboard.plots(
        sorted(p for p in run.plots.glob("*.png") if p.stem != "samples"), trainer.progress.step
    )
    summary = _write_summary(job, "finished", test)
    write_run_page(run.path, run.path / "report.html")
    trainer.logger.console.block(last_block(summary, run))


def _plot_samples(job: Job) -> None:
    """Draw training images as the network sees them."""
    images, labels = job.trainer.loader.samples(SHOWN)
    classes = job.data.dataset.classes
    pictures = [Picture(image, classes[label]) for image, label in zip(images, labels.tolist(), strict=True)]
    title = "Training images as the network sees them"
    plot_pictures(pictures, title, job.run.plots / "samples.png")
    job.trainer.logger.tensorboard.plots([job.run.plots / "samples.png"], 0)


def _use_figures_of(trainer: Trainer, header: Mapping[str, Any]) -> None:
    """Report the figures of the weights in best.pt: after a restart that was not exact they may be newer."""
    figures = {key: header[key] for key in trainer.progress.best}
    if figures != trainer.progress.best:
        trainer.logger.console.line(f"warning: best.pt is of step {figures['step']}, from before a restart")
        trainer.progress.best = figures


def repeat_last_block(run: RunDir) -> None:
    """Say that there is nothing left to do, and show the figures of the finished run."""
    print(f"{run.path}: finished already; a longer train.epochs= continues it, another name= starts anew")
    print(last_block(run.summary, run))


@contextlib.contextmanager
def record_failure(job: Job) -> Iterator[None]:
    """Within the block, an exception leaves its status in the summary; files are closed in any case."""
    try:
        yield
    except BaseException as error:
        kinds = {Interrupted: "interrupted", Diverged: "diverged"}
        status = next((kinds[kind] for kind in kinds if isinstance(error, kind)), "failed")
        with contextlib.suppress(OSError):  # a full disk: the error itself is told
            _write_summary(job, status)
            job.trainer.logger.console.note(f"{status}: {error}")
        raise
    finally:
        job.trainer.logger.close()


def header(job: Job) -> str:
    """Return the lines that open a run: model, data, device and what was chosen for it, output."""
    config, data, trainer = job.run.config, job.data, job.trainer
    model = describe(trainer.learner.model, data.shape)
    names = ("train", "val", "test")
    sizes = ", ".join(f"{len(part):,} {name}" for part, name in zip(data.parts, names, strict=True))
    size = "x".join(map(str, data.shape))
    plan = trainer.plan
    lines = [
        f"model    {config.model.name}: {model.parameters:,} parameters, {model.multiply_adds / 1e6:,.1f} M "
        f"multiply-adds per {size} image",
        f"stem     {_stem(job)}",
        f"data     {config.dataset.name}: {len(data.dataset.classes)} classes; {sizes} images; "
        f"validation: {data.splits.val_source}",
        f"training {plan.steps:,} steps of {config.train.batch_size} images "
        f"({plan.steps / trainer.loader.steps_per_epoch:.4g} epochs), {config.optimizer.name} "
        f"lr {config.optimizer.lr:g}, {config.scheduler.name}",
        f"device   {job.device.device} ({job.device.hardware}), {job.device.precision}, "
        f"{job.device.threads} CPU threads",
        *(f"         {reason}" for reason in job.device.reasons),
        f"output   {job.run.path}",
        *(f"changed  {note}" for note in job.run.notes),
    ]
    if job.resumed:
        lines.append(f"resuming at step {trainer.progress.step:,} (epoch {trainer.epoch:.2f})")
    return "\n".join(lines)


def last_block(summary: Summary, run: RunDir) -> str:
    """Return the lines that end a finished run: its figures, where they lie, and what to try next."""
    path = shlex.quote(str(run.path))
    best, test, seconds = summary["best"], summary["test"], summary["seconds"]
    ended = f"; training ended early: {summary['stopped']}" if summary["stopped"] else ""
    return "\n".join(
        [
            "",
            f"best model   epoch {best['epoch']:.4g}, step {best['step']}{ended}",
            f"validation   accuracy {best['accuracy']:.2%}, loss {best['loss']:.4f}",
            f"test         accuracy {test['accuracy']:.2%}, loss {test['loss']:.4f}",
            f"time         {_clock(seconds['total'])} ({_clock(seconds['train'])} training), "
            f"{summary['images_per_second']:,.0f} images/s",
            f"run folder   {path}",
            "next",
            f"  look at the result        {path}/report.html",
            f"  look at every figure      tensorboard --logdir {path}/tensorboard",
            f"  use the model             imclass predict {path} FILE ...",
            f"  train it longer           imclass train resume={path} {_longer(run.config)}",
            "  see the other models      imclass list models",
        ]
    )


def _write_summary(job: Job, status: str, test: Result | None = None) -> Summary:
    trainer, progress, watch = job.trainer, job.trainer.progress, job.trainer.stopwatch
    images = progress.step * trainer.loader.batch_size
    setup = time.monotonic() - job.started - watch.this_session
    summary: Summary = {
        "status": status,
        "run": job.run.path.name,
        "step": progress.step,
        "epoch": round(trainer.epoch, 6),
        "best": progress.best or None,
        "val": progress.val or None,
        "test": {"loss": test.loss, "accuracy": test.accuracy} if test else None,
        "seconds": {
            "total": setup + watch.train + watch.evaluate,
            "train": watch.train,
            "evaluate": watch.evaluate,
        },
        "images_per_second": images / watch.train if watch.train else None,
        "peak_memory_bytes": job.device.peak_memory_bytes(),
        "parameters": sum(p.numel() for p in trainer.learner.model.parameters()),
        "stopped": progress.stopped or None,
    }
    job.run.write_summary(summary)
    return summary


def _export_safetensors(path: Path, best: dict[str, Any], figures: dict[str, float]) -> None:
    """Write the best weights with everything needed to use them, as text metadata."""
    metadata = {
        k: v if isinstance(v, str) else json.dumps(v) for k, v in {**best["about"], **figures}.items()
    }
    tensors = {name: tensor.contiguous() for name, tensor in best["model"].items()}
    temporary = path.with_name(f".tmp-{path.name}")
    save_file(tensors, temporary, metadata)
    temporary.replace(path)


def _stem(job: Job) -> str:
    """Say how the first layer looks at the images, and what chose it."""
    model = job.trainer.learner.model
    conv = next((m for m in model.modules() if isinstance(m, torch.nn.Conv2d)), None)
    if conv is None:
        return "no convolution"
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    choice, size = job.run.config.model.stem, "x".join(map(str, job.data.shape[1:]))
    why = f"auto, for {size} images" if choice == "auto" else choice
    return f"{kernel}x{kernel} convolution, stride {stride} (model.stem={why})"


def _longer(config: Config) -> str:
    """Return the override that doubles what limits the training."""
    train = config.train
    if train.max_time is not None:
        return f"train.max_time={2 * parse_duration(train.max_time, ('s',)).value:g}s"
    return f"train.steps={2 * train.steps}" if train.steps else f"train.epochs={2 * (train.epochs or 0):g}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d} min"
