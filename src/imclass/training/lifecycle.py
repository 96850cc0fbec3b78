"""What a run shows and writes before and after its training: provenance, test, weights, plots, summary."""

import contextlib
import json
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from imclass.config.check import flatten
from imclass.config.invocation import Invocation
from imclass.config.metric import METRICS
from imclass.endings import printable, say
from imclass.errors import Diverged, Interrupted, StorageError, UserError
from imclass.evaluation.evaluate import Predictions, predictions_of
from imclass.evaluation.metrics import Result
from imclass.folding import folded
from imclass.machine.signals import STOP
from imclass.models.summary import format_summary
from imclass.reports.plots import plot_curves
from imclass.reports.run_page import OF_THE_DATA, PLOTS, write_run_page
from imclass.reports.split_report import draw_data, write_split_report
from imclass.runs.checkpoint import DamagedCheckpoint, Header, State, load_best
from imclass.runs.folder import RunFolder
from imclass.runs.records import read_run
from imclass.runs.weights import load_weights, write_safetensors
from imclass.training.banner import banner, last_block, longer
from imclass.training.build import Job
from imclass.training.provenance import provenance, record_provenance
from imclass.training.start import starting_weights

Summary = dict[str, Any]
# What TensorBoard shows of the test, by tag; `views` stands behind the curves, which are in train and val.
VIEWS = {"metrics": ("confusion_matrix", "calibration"), "images": ("mistakes", "predictions")}


@STOP.at_once()
def begin(job: Job, invocation: Invocation) -> None:
    """Show what will run, and write provenance, the first summary and TensorBoard's first page."""
    if not job.device.processes.is_first:
        return
    run, logger = job.run, job.logger
    logger.console.line(banner(job))
    if run.config.model.summary:
        logger.console.line(format_summary(job.trainer.learner.model, job.data.shape))
    weights = None if job.resumed else starting_weights(run.config.model)
    now = provenance(job.device, job.data, weights, invocation)
    record_provenance(run.path, now, resumed=job.resumed)
    if not job.resumed:
        logger.tensorboard.text("config", f"```yaml\n{OmegaConf.to_yaml(run.settings)}\n```")
        if run.config.logger.plots:
            draw_data(job.trainer.loader, job.data.splits, job.data.classes, run.plots)
            logger.tensorboard.pictures("views/data", _plots(run, *OF_THE_DATA), 0)
    _write_summary(job, "running")


def conclude(job: Job) -> None:
    """Read the test set once, with the best weights; write what the run leaves; then show its last block.

    The ranks share the test set; rank 0 writes. Killed anywhere before the summary says "finished", the run
    is concluded again by the same command; a signal is answered before its test ends, or not at all.
    """
    test = _test(job)
    if not job.device.processes.is_first:
        return
    job.logger.state_dict()  # syncs the files; what they lack stands in the summary
    summary = _summary(job, "finished", test)
    _write_page(job, summary, redraw=False)
    job.run.write_summary(summary)  # the last file: with it the run is finished
    job.logger.console.block(last_block(summary, job.run))  # after it: the block claims that it is finished


@STOP.at_once()
def _test(job: Job) -> Result:
    """Evaluate the best weights on the test set; write the figures, the plots and the weights."""
    header, best = job.device.processes.broadcast(lambda: _best(job))
    model = job.trainer.learner.ema.module
    load_weights(model, best["model"], source=str(job.checkpointer.best))
    predictions = predictions_of(model, job.test, job.device)
    if job.device.processes.is_first:
        _use_figures_of(job, header)
        _write_test(job, best, predictions)
    return predictions.result


def _best(job: Job) -> tuple[Header, State]:
    """Return what best.pt holds. Raises UserError naming the last weights, where it is gone or damaged."""
    best = job.checkpointer.best
    try:
        return load_best(best)
    except (DamagedCheckpoint, FileNotFoundError) as error:
        problem = error if isinstance(error, DamagedCheckpoint) else f"{best} is gone"
        instead = f"imclass evaluate {shlex.quote(str(job.run.path))} --weights last"
        raise UserError(f"{problem}; the last weights are whole: {instead}") from error


def _write_test(job: Job, best: State, predictions: Predictions) -> None:
    run, logger, test, progress = job.run, job.logger, predictions.result, job.trainer.progress
    job.trainer.stopwatch.book("evaluate")
    logger.evaluated("test", progress.step, job.trainer.epoch, test.figures, test.images)
    _export_safetensors(run.path / "best.safetensors", best, progress.best)
    best_figures = {f"best.val_{name}": progress.best[name] for name in METRICS if name in progress.best}
    figures = best_figures | {f"test.{name}": value for name, value in test.figures.items()}
    logger.tensorboard.hparams(figures, flatten(run.settings), [f"val/{name}" for name in progress.val])
    about = {"split": "test", "weights": "best", "tta": "none", "data": None}
    draw = run.config.logger.plots
    if not draw:
        for plot in _plots(run, *(PLOTS.keys() - OF_THE_DATA)):  # drawn after a shorter training
            plot.unlink()
    test_images = job.test.images
    model = job.trainer.learner.ema.module
    write_split_report(
        run.path, job.data.test, test_images, predictions, job.data.classes, about, model, draw=draw
    )
    if draw:
        plot_curves(
            logger.metrics.records, progress.best, run.plots / "curves.png", run.config.checkpoint.metric
        )
        for tag, names in VIEWS.items():
            logger.tensorboard.pictures(f"views/{tag}", _plots(run, *names), progress.step)
    logger.result(figures, sorted(run.plots.glob("*.png")), progress.step)


def _plots(run: RunFolder, *names: str) -> list[Path]:
    return [plot for plot in (run.plots / f"{name}.png" for name in names) if plot.exists()]


def _use_figures_of(job: Job, header: Mapping[str, Any]) -> None:
    """Report the figures of the weights in best.pt: after a restart that was not exact they may be newer."""
    progress = job.trainer.progress
    figures = {key: header.get(key, value) for key, value in progress.best.items()}
    if figures != progress.best:
        job.logger.console.warn(f"best.pt is of step {figures['step']}, from before a restart")
        progress.best = figures


def repeat_last_block(run: RunFolder) -> None:
    """Print that the run is finished already, and its figures; warn where metrics.jsonl contradicts them."""
    with contextlib.suppress(UserError):  # damaged records, which this does not need
        if edited := read_run(run.path).edited:
            say(f"warning: {edited}")
    more = longer(run.config, run.summary)
    finished = f"{run.path}: finished already; {more} continues it, another name= starts anew"
    print(folded(printable(f"{finished}\n{last_block(run.summary, run)}"), sys.stdout))


@contextlib.contextmanager
def record_failure(job: Job, invocation: Invocation) -> Iterator[None]:
    """Within the block, an exception leaves its status in the summary; files are closed in any case.

    An interruption is raised again with the command that resumes, a divergence with that which repeats it.
    """
    status = "finished"
    try:
        yield
    except BaseException as error:
        if isinstance(error, Interrupted):
            error = Interrupted(f"{str(error).split(';')[0]}; {_how_to_resume(job, invocation)}")
        if isinstance(error, Diverged):
            with contextlib.suppress(StorageError):  # that training diverged is what must be said
                job.checkpointer.write_best()
            replay = f"{_resuming(job)} train.log_every=1st"
            error = Diverged(f"{error}; to replay it with every step logged: {replay}")
        kinds = {Interrupted: "interrupted", Diverged: "diverged"}
        status = next((kinds[kind] for kind in kinds if isinstance(error, kind)), "failed")
        with contextlib.suppress(OSError):  # a full disk: the error itself is reported
            if job.device.processes.is_first:
                _write_summary(job, status)
            job.logger.console.note(f"{status}: {error}")
            if status == "diverged" and job.device.processes.is_first:
                _write_page(job, None, redraw=job.run.config.logger.plots)
        raise error
    finally:
        job.logger.close(status)


def _write_page(job: Job, summary: Summary | None, *, redraw: bool) -> None:
    points = job.logger.metrics.records  # those too that a full disk has not taken
    page = job.run.path / "report.html"
    write_run_page(job.run.path, page, redraw=redraw, points=points, summary=summary)


def _how_to_resume(job: Job, invocation: Invocation) -> str:
    if invocation.multirun:
        return "the same command resumes this and all other jobs"
    return f"to resume: {_resuming(job)}"


def _resuming(job: Job) -> str:
    """Return the command that resumes the run."""
    command = "torchrun ... -m imclass.train" if job.device.processes.size > 1 else "imclass train"
    return f"{command} resume={shlex.quote(str(job.run.path))}"


def _write_summary(job: Job, status: str) -> None:
    """Write where the run stands; a finished run that is concluded again stays finished meanwhile."""
    if not job.run.finished:
        job.run.write_summary(_summary(job, status))


def _summary(job: Job, status: str, test: Result | None = None) -> Summary:
    training, watch = job.trainer.summary(), job.trainer.stopwatch
    setup = time.monotonic() - job.started - watch.this_session
    summary: Summary = {
        "status": status,
        "run": job.run.path.name,
        **training,
        "seconds": {"total": setup + watch.train + watch.evaluate, **training["seconds"]},
        "test": test.figures if test else None,
        "test_readings": _test_readings(job) + (test is not None and not job.run.finished),
        "skipped": job.data.skipped,
        **({"smoke": True} if job.run.config.train.smoke else {}),
        "peak_memory_bytes": job.device.peak_memory_bytes(),
    }
    if lacking := job.logger.incomplete():
        summary["unwritten"] = lacking
    return summary


def _test_readings(job: Job) -> int:
    """Return how often the run's test set has been read, as its last summary records.

    Once by each training that ended: one that is resumed to train longer has been tested before. Concluding
    a run again, as it was killed meanwhile or a file is gone, reads it with the same weights: not counted.
    """
    summary = job.run.summary
    readings = summary.get("test_readings")
    return readings if readings is not None else int(summary.get("status") == "finished")


def _export_safetensors(path: Path, best: State, figures: dict[str, float]) -> None:
    """Write the best weights with everything needed to use them, as text metadata."""
    metadata = {
        k: v if isinstance(v, str) else json.dumps(v) for k, v in {**best["about"], **figures}.items()
    }
    write_safetensors(path, best["model"], metadata)
