"""What surrounds training: the header before it; test, files and last block after it."""

import contextlib
import dataclasses
import json
import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from safetensors.torch import save

from imclass.config.check import flatten
from imclass.config.multirun import is_multirun
from imclass.errors import Diverged, Interrupted, UserError
from imclass.evaluation.evaluate import Predictions, predictions_of
from imclass.evaluation.metrics import Result
from imclass.machine.signals import STOP
from imclass.models.summary import format_summary
from imclass.reports.plots import plot_curves
from imclass.reports.run_page import write_run_page
from imclass.reports.split_report import draw_samples, write_assessment
from imclass.runs.atomic import replacing
from imclass.runs.checkpoint import DamagedCheckpoint, read_checkpoint, read_header
from imclass.runs.folder import RunDir
from imclass.runs.records import read_metrics
from imclass.training.build import Job, starting_weights
from imclass.training.header import header, last_block
from imclass.training.provenance import provenance, record_provenance
from imclass.training.trainer import Trainer

Summary = dict[str, Any]


@STOP.at_once()
def begin(job: Job) -> None:
    """Show what will run, and write provenance, the first summary and TensorBoard's first page."""
    if not job.device.processes.is_first:
        return
    console = job.trainer.logger.console
    console.line(header(job))
    if job.run.config.model.summary:
        console.line(format_summary(job.trainer.learner.model, job.data.shape))
    config_text = OmegaConf.to_yaml(dataclasses.asdict(job.run.config))
    weights = None if job.resumed else starting_weights(job.run.config.model)
    record_provenance(job.run.path, provenance(job.device, job.data, weights), resumed=job.resumed)
    if not job.resumed:
        job.trainer.logger.tensorboard.text("config", f"```yaml\n{config_text}\n```")
        samples = job.run.plots / "samples.png"
        draw_samples(job.trainer.loader, job.data.classes, samples)
        job.trainer.logger.tensorboard.plots([samples], 0)
    _write_summary(job, "running")


def conclude(job: Job) -> None:
    """Read the test set once, with the best weights; write what the run leaves; show its last block.

    Many processes share the test set; the first writes.
    """
    test = _test(job)
    if not job.device.processes.is_first:
        return
    summary = _write_summary(job, "finished", test)
    write_run_page(job.run.path, job.run.path / "report.html", redraw=False)
    job.trainer.logger.console.block(last_block(summary, job.run))


@STOP.at_once()
def _test(job: Job) -> Result:
    """Evaluate the best weights on the test set; write the figures, the plots and the weights."""
    trainer = job.trainer
    best = job.device.processes.broadcast(lambda: _best(job))
    model = trainer.learner.ema.module
    model.load_state_dict(best["model"])
    predictions = predictions_of(model, job.test, job.device)
    if job.device.processes.is_first:
        _write_test(job, best, predictions)
    return predictions.result


def _best(job: Job) -> dict[str, Any]:
    """Return what best.pt holds. Raises UserError saying what is left, where it is gone or damaged."""
    try:
        return read_checkpoint(job.trainer.checkpointer.best)
    except (DamagedCheckpoint, FileNotFoundError) as error:
        told = error if isinstance(error, DamagedCheckpoint) else f"{job.trainer.checkpointer.best} is gone"
        instead = f"imclass evaluate {shlex.quote(str(job.run.path))} --weights last"
        raise UserError(f"{told}; the last weights are whole: {instead}") from error


def _write_test(job: Job, best: dict[str, Any], predictions: Predictions) -> None:
    trainer, run, test = job.trainer, job.run, predictions.result
    _use_figures_of(trainer, read_header(trainer.checkpointer.best))
    trainer.stopwatch.book("evaluate")
    trainer.logger.evaluated("test", trainer.progress.step, trainer.epoch, test.figures, test.images)
    _export_safetensors(run.path / "best.safetensors", best, trainer.progress.best)
    figures = {"best/val_accuracy": trainer.progress.best["accuracy"], "best/test_accuracy": test.accuracy}
    trainer.logger.tensorboard.hparams(flatten(dataclasses.asdict(run.config)), figures)
    about = {"split": "test", "weights": "best", "tta": "none", "data": None}
    write_assessment(run.path, job.data.test, predictions, job.data.classes, about)
    plot_curves(read_metrics(trainer.logger.metrics.path), trainer.progress.best, run.plots / "curves.png")
    plots = sorted(p for p in run.plots.glob("*.png") if p.stem != "samples")
    trainer.logger.tensorboard.plots(plots, trainer.progress.step)


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
    """Within the block, an exception leaves its status in the summary; files are closed in any case.

    An interruption is raised again with the command that goes on.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, Interrupted):
            error = Interrupted(f"{str(error).split(';')[0]}; {_way_on(job)}")
        kinds = {Interrupted: "interrupted", Diverged: "diverged"}
        status = next((kinds[kind] for kind in kinds if isinstance(error, kind)), "failed")
        with contextlib.suppress(OSError):  # a full disk: the error itself is told
            _write_summary(job, status)
            job.trainer.logger.console.note(f"{status}: {error}")
            if status == "diverged" and job.device.processes.is_first:
                write_run_page(job.run.path, job.run.path / "report.html")
        raise error
    finally:
        job.trainer.logger.close()


def _way_on(job: Job) -> str:
    if is_multirun():
        return "the same command goes on with this and all other jobs"
    command = "torchrun ... -m imclass.train" if job.device.processes.size > 1 else "imclass train"
    return f"it goes on with: {command} resume={shlex.quote(str(job.run.path))}"


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
    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))  # save_file's is for the owner's eyes only
