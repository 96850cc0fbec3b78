"""Run a sweep from its first trial, or from where it was interrupted, to its report."""

import contextlib
import os
import sys
from collections.abc import Sequence

from imclass.config.conflicts import unused
from imclass.config.durations import parse_duration
from imclass.config.urls import without_password
from imclass.errors import Interrupted, PartialFailure, UserError
from imclass.folding import folded
from imclass.machine.launcher import launched_as
from imclass.machine.signals import STOP
from imclass.runs.locks import lock_folder
from imclass.sweeps.ledger import Ledger
from imclass.sweeps.page import summary, write_report
from imclass.sweeps.progress import ProgressLine
from imclass.sweeps.queue import Queue
from imclass.sweeps.request import JOURNAL, Request
from imclass.sweeps.results import Results
from imclass.sweeps.store import Store, database_errors_named, open_store
from imclass.sweeps.stored import agree_with_others, compare_with_stored, is_begun, keep_request
from imclass.sweeps.workers import Worker, divide, find_gpus


def find_workers(request: Request) -> list[Worker]:
    """Return the workers of this machine. Raises UserError if it cannot run sweeps, or not so many trials."""
    if sys.platform == "win32":
        raise UserError("sweeps need Linux or macOS")
    place = launched_as()
    if place is not None and place.size > 1:
        raise UserError("imclass sweep runs in one process, not under torchrun; it uses all GPUs by itself")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return divide(request.config.workers, request.config.per_gpu, find_gpus(request.base.device.type), cores)


def run_sweep(request: Request, workers: Sequence[Worker]) -> None:
    """Run what is left of a sweep; write and print its report.

    Raises UserError if the folder is another sweep's or in use, Interrupted after a signal, and
    PartialFailure if a trial failed for good.
    """
    folder, config = request.folder, request.config
    if is_begun(request):
        compare_with_stored(request)
    with contextlib.ExitStack() as held:
        held.enter_context(database_errors_named(request.storage))
        store = None
        if request.storage != JOURNAL:  # what it refuses leaves no folder here
            store = held.enter_context(contextlib.closing(_open_store(request)))
            agree_with_others(request, store)
        folder.mkdir(parents=True, exist_ok=True)
        if not config.join:
            held.enter_context(lock_folder(folder, instead="work beside it with sweep.join=true"))
        keep_request(request)
        if store is None:
            store = held.enter_context(contextlib.closing(_open_store(request)))
        finished, results = _run(request, workers, store)
    print(folded(summary(results, folder / "sweep.html"), sys.stdout))
    if not finished:
        raise Interrupted(f"stopped by {STOP.asked()}; to resume: {request.command}")
    if results.failures:
        count = len(results.failures)
        failed = f"{count} trials" if count > 1 else "a trial"
        again = "the same command" if config.retries else "sweep.retries=1"
        again += " without sweep.join=true" if config.join else ""
        raise PartialFailure(f"{failed} failed, see above; {again} tries again")


def _open_store(request: Request) -> Store:
    lost_after = parse_duration(request.config.lost_after).value
    return open_store(
        request.storage, request.name, request.metric, folder=request.folder, lost_after=lost_after
    )


def _run(request: Request, workers: Sequence[Worker], store: Store) -> tuple[bool, Results]:
    """Run what is left of a sweep and write its report; return whether it is complete, and what was found."""
    line = ProgressLine(request.metric, len(workers))
    line.say(header(request, workers))
    ledger = Ledger(request, store)
    line.begin(ledger)
    finished = Queue(request, ledger, workers, STOP, line).run()
    line.end(ledger)
    return finished, write_report(request.folder, request.folder / "sweep.html", store)


def header(request: Request, workers: Sequence[Worker]) -> str:
    """Return the line that opens a sweep, and what of it will have no effect."""
    config, device = request.config, request.base.device.type
    gpus = len({worker.gpu for worker in workers} - {None})
    where = f"{gpus} GPU{'s' if gpus > 1 else ''}"
    if not gpus:
        where = "the CPU" if device in ("auto", "cpu") else "one GPU"
    trials = f"{request.trials} configuration{'s' if request.trials > 1 else ''}"
    side = f"{len(workers)} side by side" if len(workers) > 1 else "one at a time"
    recorded = "" if request.storage == JOURNAL else f", recorded in {without_password(request.storage)}"
    lines = [
        f"sweep {request.name}: {trials} over {', '.join(request.space)} "
        f"({config.sampler}, {config.pruner}), {side} on {where}, into {request.folder}{recorded}"
    ]
    if config.pruner != "none" and request.evaluations == 1:
        lines.append("nothing will be pruned: a trial has one evaluation; train.eval_every= makes more")
    if config.sampler == "cmaes":
        drawn = [key for key, parameter in request.space.items() if not parameter.is_number]
        lines += [f"cmaes handles numbers only and draws {', '.join(drawn)} at random"] if drawn else []
    return "\n".join([*lines, *unused(config)])
