"""The queue: a free worker takes the next trial. One thread; processes do the work."""

import time
from collections.abc import Sequence

from imclass.errors import EXIT_INTERRUPTED
from imclass.machine.signals import StopFlag
from imclass.sweeps.ledger import Ledger
from imclass.sweeps.progress import ProgressLine
from imclass.sweeps.request import Request
from imclass.sweeps.store import DatabaseSilent, LostTrial, reason_of
from imclass.sweeps.workers import RunningTrial, Worker

_POLL_SECONDS = 0.2
_CLAIM_SECONDS = 1.0  # between two looks for work that others may have left
_PATIENCE_SECONDS = 600.0  # with a database that does not answer, once nothing runs any more


class Queue:
    """The workers of this machine, and what they train."""

    def __init__(
        self, request: Request, ledger: Ledger, workers: Sequence[Worker], stop: StopFlag, line: ProgressLine
    ):
        self._request, self._ledger, self._workers = request, ledger, workers
        self._stop, self._line = stop, line
        self._running: dict[int, RunningTrial] = {}  # by the worker's number
        self._claim_at, self._stopping = 0.0, False
        self._silent_since: float | None = None  # the database

    def run(self) -> bool:
        """Run trials until none is left or runs on any machine; return False if a signal ended it before.

        So whoever shares the sweep is there until its end, to take over from a process that is killed. After
        a signal, each trial saves a checkpoint and stays open in the study, to be resumed. Trials go on while
        a database does not answer. Raises DatabaseSilent if that lasts.
        """
        while True:
            try:
                for number, trial in list(self._running.items()):
                    if self._has_ended(trial):
                        del self._running[number]
                        self._claim_at = 0.0
                self._start_or_stop()
                if not self._running and (self._stopping or self._ledger.exhausted):
                    return not self._stopping
                self._line.show(self._ledger)
                self._silent_since = None
            except DatabaseSilent as error:
                self._wait_for_database(error)
            time.sleep(_POLL_SECONDS)

    def _start_or_stop(self) -> None:
        """Give each free worker a trial; after a signal, ask all to stop instead."""
        if self._stop.asked() is not None and not self._stopping:
            self._stopping = True
            self._line.say(f"stopping: {len(self._running)} running, each saves a checkpoint")
        if self._stopping:
            for trial in self._running.values():
                trial.ask_to_stop(pruned=False)
        elif time.monotonic() >= self._claim_at:
            for worker in (w for w in self._workers if w.number not in self._running):
                ticket = self._ledger.claim()
                if ticket is None:
                    self._claim_at = time.monotonic() + _CLAIM_SECONDS
                    break
                self._running[worker.number] = RunningTrial(self._request, ticket, worker)

    def _has_ended(self, trial: RunningTrial) -> bool:
        """Report a trial's new figures to the study, and how it ended if it has."""
        code = trial.poll()  # before its figures are read: what it logged last counts
        try:
            self._ledger.keep(trial.ticket)
            values = trial.new_values()
            if values is not None and self._ledger.report(trial.ticket, values) and code is None:
                trial.ask_to_stop(pruned=True)
            if code is None:
                return False
            self._close(trial, code)
        except LostTrial:
            trial.ask_to_stop(pruned=False)
            if code is None:
                return False
            folder, silent = trial.ticket.folder, self._request.config.lost_after
            self._line.say(f"{folder}: taken over by another machine, which heard nothing of it for {silent}")
        return True

    def _close(self, trial: RunningTrial, code: int) -> None:
        stopping = self._stop.asked() is not None
        if stopping and not trial.pruned and (code == EXIT_INTERRUPTED or code < 0):
            self._ledger.release(trial.ticket)
            return
        outcome = trial.outcome(code)
        for_good = self._ledger.close(trial.ticket, outcome)
        if outcome.state == "failed":
            then = "" if for_good else "; trying again"
            folder, cause = trial.ticket.folder, outcome.attributes["cause"]
            self._line.say(f"{folder} failed: {cause} ({trial.log}){then}")

    def _wait_for_database(self, error: DatabaseSilent) -> None:
        """Return to try again. Raises the error when nothing runs any more and patience has ended."""
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since = now
            self._line.say(f"the database does not answer ({reason_of(error)}); trials go on; trying again")
        for trial in self._running.values():
            trial.read_again()
        asked = self._stop.asked() is not None
        if asked:
            for trial in self._running.values():
                trial.ask_to_stop(pruned=False)
        alive = any(trial.poll() is None for trial in self._running.values())
        if not alive and (asked or now - self._silent_since > _PATIENCE_SECONDS):
            raise error
