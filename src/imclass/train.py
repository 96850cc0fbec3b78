"""Train a model: the whole program.

imclass train [group=choice ...] [key=value ...], or python -m imclass.train [the same];
in Python: imclass.train(["group=choice", "key=value"])
"""

import contextlib
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from imclass.endings import begin_process, end_process, exit_code_of
from imclass.errors import UserError
from imclass.machine.launcher import launched_as
from imclass.machine.signals import STOP, answer_signals, catch_signals

if TYPE_CHECKING:
    from imclass.config.invocation import Invocation
    from imclass.config.schema import Config
    from imclass.evaluation.model import FinishedRun
    from imclass.machine.processes import Processes

# All else is imported once signals are answered: that takes seconds.


def train(config: "Config", invocation: "Invocation") -> Path:
    """Train, pick the best model on validation data, read the test set once; return the run folder.

    Raises UserError, Diverged, Interrupted, StorageError.
    """
    from imclass.machine.joining import joined_processes

    with joined_processes(config.device.type) as processes, STOP.shared_by(processes):
        return _train(config, invocation, processes)


def _train(config: "Config", invocation: "Invocation", processes: "Processes") -> Path:
    from imclass.machine.joining import lost_peers_named
    from imclass.runs.folder import open_run
    from imclass.training.build import build_job
    from imclass.training.lifecycle import begin, conclude, record_failure, repeat_last_block
    from imclass.training.resume import is_done

    run = processes.broadcast(lambda: open_run(config))
    if processes.broadcast(lambda: is_done(run)):
        if processes.is_first:
            repeat_last_block(run)
        return run.path
    with contextlib.ExitStack() as held:
        processes.broadcast(lambda: held.enter_context(run.locked()))
        job = build_job(run, processes, invocation.keys)
        with record_failure(job, invocation), lost_peers_named():
            begin(job, invocation)
            job.trainer.fit()
            conclude(job)
        return job.run.path


def train_command(argv: Sequence[str]) -> None:
    """Train what `argv` composes; with `-m` one run after the other, which takes one process.

    Several runs end with the figures side by side of those that finished.
    """
    from imclass.config.app import run_app
    from imclass.config.invocation import Invocation

    invocation = Invocation.read("train", argv)
    place = launched_as()
    if invocation.multirun and place is not None and place.size > 1:
        raise UserError("-m: several runs take one process; with torchrun, start each run by itself")
    with catch_signals():
        run_app(train, invocation, conclude=partial(_compare, named="name" in invocation.keys))


def _compare(runs: Sequence[Path], *, named: bool) -> None:
    """Print the figures of the runs of a multirun side by side. named: whether name= was typed."""
    if len(runs) > 1:
        from imclass.reports.comparison_lines import print_comparison

        print_comparison(runs, named=named)


def train_from_python(
    overrides: Sequence[str | Path] = (), *, config_dir: str | Path | None = None
) -> "FinishedRun":
    """Train as `imclass train` does; return the run with its `summary`, `path` and `model`.

    overrides: what is typed after the command, ["model=resnet18", "train.epochs=1"]. A run of that name that
    exists is resumed, or returned if it is finished. Raises UserError, Diverged, StorageError; Interrupted, a
    KeyboardInterrupt, after saving a checkpoint: the same call resumes.
    """
    from imclass.config.app import run_app
    from imclass.config.invocation import Invocation
    from imclass.evaluation.model import FinishedRun

    words = [] if isinstance(overrides, str) else [str(word) for word in overrides]  # a Path is a folder
    if isinstance(overrides, str) or any(word.startswith("-") for word in words):
        raise UserError(
            f"{overrides}: expected a list of settings such as ['model=resnet18', 'train.epochs=1']"
        )
    folder = [] if config_dir is None else [f"--config-dir={config_dir}"]
    with _catching_signals():
        return FinishedRun(*run_app(train, Invocation.read("train", [*folder, *words])))


def _catching_signals() -> contextlib.AbstractContextManager[None]:
    """Return `catch_signals`, or nothing in a thread, where Python allows no handlers."""
    in_main = threading.current_thread() is threading.main_thread()
    return catch_signals() if in_main else contextlib.nullcontext()


class _Program(ModuleType):
    """This module as the function `imclass.train`: both have that name."""

    __call__ = staticmethod(train_from_python)


sys.modules[__name__].__class__ = _Program

if __name__ == "__main__":
    begin_process()
    answer_signals()
    argv = sys.argv[1:]
    end_process(exit_code_of(lambda: train_command(argv), debug="debug=true" in argv))
