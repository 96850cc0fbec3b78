"""Train a model: the whole program.

imclass train [group=choice ...] [key=value ...], or python -m imclass.train [the same]
"""

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from imclass.endings import end_process, exit_code_of, provide_streams
from imclass.errors import UserError
from imclass.machine.launcher import launched_as
from imclass.machine.signals import STOP, answer_signals, catch_signals

if TYPE_CHECKING:
    from imclass.config.invocation import Invocation
    from imclass.config.schema import Config
    from imclass.machine.processes import Processes

# All else is imported once signals are answered: that takes seconds.


def train(config: "Config", invocation: "Invocation") -> None:
    """Train, pick the best model on validation data, read the test set once; one run folder comes out.

    Raises UserError, Diverged, Interrupted, StorageError.
    """
    from imclass.machine.joining import joined_processes

    with joined_processes(config.device.type) as processes, STOP.shared_by(processes):
        _train(config, invocation, processes)


def _train(config: "Config", invocation: "Invocation", processes: "Processes") -> None:
    from imclass.machine.joining import lost_peers_named
    from imclass.runs.folder import open_run
    from imclass.training.build import build_job
    from imclass.training.lifecycle import begin, conclude, record_failure, repeat_last_block

    run = processes.broadcast(lambda: open_run(config))
    if processes.broadcast(lambda: run.finished and run.complete):
        if processes.is_first:
            repeat_last_block(run)
        return
    with contextlib.ExitStack() as held:
        processes.broadcast(lambda: held.enter_context(run.locked()))
        with record_failure(job := build_job(run, processes), invocation), lost_peers_named():
            begin(job, invocation)
            job.trainer.fit()
            conclude(job)


def train_command(argv: Sequence[str]) -> None:
    """Train what `argv` composes; with `-m` one run after the other, which takes one process."""
    from imclass.config.app import run_app
    from imclass.config.invocation import Invocation

    invocation = Invocation.read("train", argv)
    place = launched_as()
    if invocation.multirun and place is not None and place.size > 1:
        raise UserError("-m: several runs take one process; with torchrun, start each run by itself")
    with catch_signals():
        run_app(train, invocation)


if __name__ == "__main__":
    provide_streams()
    answer_signals()
    argv = sys.argv[1:]
    end_process(exit_code_of(lambda: train_command(argv), debug="debug=true" in argv))
