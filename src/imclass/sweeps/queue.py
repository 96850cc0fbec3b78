"""The queue: a free worker takes the next trial. One thread; processes do the work."""

import time
from collections.abc import Sequence

from imclass.errors import EXIT_INTERRUPTED
from imclass.machine.signals import StopFlag
from imclass.sweeps.ledger import Ledger
from imclass.sweeps.progress import ProgressLine
from imclass.sweeps.request import Request
from imclass.sweeps.workers import RunningTrial, Worker

_POLL_SECONDS = 0.2
_CLAIM_SECONDS = 1.0  # between two looks for work that others may have left


def run_queue(
    request: Request, ledger: Ledger, workers: Sequence[Worker], stop: StopFlag, line: ProgressLine
) -> bool:
    """Run trials until none is left or runs on any machine; return False if a signal ended it before.

    So whoever shares the sweep is there until its end, to take over from a process that is killed. After a
    signal, each trial saves a checkpoint and stays open in the study, to be resumed.
    """
    running: dict[int, RunningTrial] = {}  # by the worker's number
    claim_at, stopping = 0.0, False
    while True:
        if stop.asked() is not None and not stopping:
            stopping = True
            line.say(f"stopping: {len(running)} running, each saves a checkpoint")
        if stopping:
            for trial in running.values():
                trial.ask_to_stop(pruned=False)
        elif time.monotonic() >= claim_at:
            for worker in (w for w in workers if w.number not in running):
                ticket = ledger.claim()
                if ticket is None:
                    claim_at = time.monotonic() + _CLAIM_SECONDS
                    break
                running[worker.number] = RunningTrial(request, ticket, worker)
        if not running and (stopping or ledger.exhausted):
            return not stopping
        line.show(ledger)
        time.sleep(_POLL_SECONDS)
        for number, trial in list(running.items()):
            if _has_ended(trial, ledger, line, stop.asked() is not None):
                del running[number]
                claim_at = 0.0


def _has_ended(trial: RunningTrial, ledger: Ledger, line: ProgressLine, stopping: bool) -> bool:
    """Report a trial's new figures to the study, and how it ended if it has."""
    code = trial.poll()  # before its figures are read: what it logged last counts
    values = trial.new_values()
    if values is not None and ledger.report(trial.ticket, values) and code is None:
        trial.ask_to_stop(pruned=True)
    if code is None:
        return False
    if stopping and not trial.pruned and (code == EXIT_INTERRUPTED or code < 0):
        ledger.release(trial.ticket)
        return True
    outcome = trial.outcome(code)
    for_good = ledger.close(trial.ticket, outcome)
    if outcome.state == "failed":
        then = "" if for_good else "; trying again"
        line.say(f"{trial.ticket.folder} failed: {outcome.attributes['cause']} ({trial.log}){then}")
    return True
