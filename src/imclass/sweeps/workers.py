"""Where trials run: each worker has its share of the cores, and a GPU if there are any."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from imclass.config.overrides import key_of, quoted
from imclass.errors import UserError
from imclass.runs.records import read_metrics
from imclass.sweeps.ledger import Ticket
from imclass.sweeps.outcome import Outcome, outcome_of
from imclass.sweeps.request import Request

GRACE_SECONDS = 60.0  # between asking a trial to stop and killing it
_IS_GPU = re.compile(r"\d+$|GPU-|MIG-")  # in CUDA_VISIBLE_DEVICES


@dataclass(frozen=True, slots=True)
class Worker:
    """A place for one trial at a time."""

    number: int
    cores: tuple[int, ...]  # empty: all of them
    gpu: str | None


def find_gpus(device: str) -> list[str]:
    """Return the GPUs that trials with `device.type=device` may take; without importing torch."""
    if device not in ("auto", "cuda"):
        return []
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        names = [name.strip() for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",")]
        return list(itertools.takewhile(_IS_GPU.match, names))  # CUDA too ignores what follows -1 or a word
    if (tool := shutil.which("nvidia-smi")) is None:
        return []
    command = [tool, "--query-gpu=index", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.split() if done.returncode == 0 else []


def divide(workers: int | None, per_gpu: int, gpus: Sequence[str], cores: Sequence[int]) -> list[Worker]:
    """Return the workers: as many as asked for, or as fit; more workers than cores share these in turn.

    Raises UserError when there are more than `per_gpu` for each GPU.
    """
    count = workers or max(1, len(gpus) * per_gpu)
    if gpus and count > len(gpus) * per_gpu:
        needed = -(-count // len(gpus))
        found = f"{len(gpus)} GPU{'s' if len(gpus) > 1 else ''}"
        raise UserError(
            f"sweep.workers={count}: too many for {found} with sweep.per_gpu={per_gpu}; "
            f"type sweep.per_gpu={needed}, or fewer workers"
        )
    shares = [tuple(cores[n * len(cores) // count : (n + 1) * len(cores) // count]) for n in range(count)]
    if cores and count > len(cores):
        shares = [(cores[n % len(cores)],) for n in range(count)]
    return [Worker(n, shares[n], gpus[n % len(gpus)] if gpus else None) for n in range(count)]


def trial_command(request: Request, ticket: Ticket) -> list[str]:
    """Return the command that trains one trial, as a list: no shell reads it."""
    own = {key_of(text) for text in ticket.overrides}
    shared = [text for text in request.overrides if key_of(text) not in own]
    place = [f"name={ticket.folder}", f"output_dir={quoted(request.folder)}"]
    return [sys.executable, "-m", "imclass.train", *request.flags, *shared, *ticket.overrides, *place]


class RunningTrial:
    """The process of a trial. Its output goes to logs/<trial>.log; its lock is held until it ends."""

    def __init__(self, request: Request, ticket: Ticket, worker: Worker):
        self.ticket, self.worker, self.pruned = ticket, worker, False
        self.run = request.folder / ticket.folder
        self.log = request.folder / "logs" / f"{ticket.folder}.log"
        self._metric = request.metric.name
        self._started, self._asked, self._size = time.monotonic(), 0.0, -1
        self.log.parent.mkdir(exist_ok=True)
        cores = ",".join(map(str, worker.cores)) or "any"
        launch = [sys.executable, "-m", "imclass.sweeps.launch", str(os.getpid()), cores]
        environment, lock = dict(os.environ), ticket.held.lock
        if worker.cores:
            environment["OMP_NUM_THREADS"] = str(len(worker.cores))
        if worker.gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = worker.gpu
        with self.log.open("ab") as log:
            self._begin = log.tell()
            self._process = subprocess.Popen(
                [*launch, *trial_command(request, ticket)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=() if lock is None else (lock,),
                start_new_session=True,
            )

    def new_values(self) -> list[float] | None:
        """Return the metric at each evaluation so far; None if nothing was logged since the last call."""
        file = self.run / "metrics.jsonl"
        size = file.stat().st_size if file.exists() else -1
        if size == self._size:
            return None
        self._size = size
        try:
            values = [r[self._metric] for r in read_metrics(file) if r["split"] == "val"]
        except UserError:  # a damaged file: nothing to prune by
            return None
        return [value for value in values if value is not None]

    def read_again(self) -> None:
        """Let `new_values` return what it did: the study has not taken it."""
        self._size = -1

    def ask_to_stop(self, *, pruned: bool) -> None:
        """Let it save a checkpoint and end; it is killed after GRACE_SECONDS."""
        if not self._asked:
            self.pruned, self._asked = pruned, time.monotonic()
            self._process.send_signal(signal.SIGTERM)

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        code = self._process.poll()
        if code is None and self._asked and time.monotonic() - self._asked > GRACE_SECONDS:
            os.killpg(self._process.pid, signal.SIGKILL)
        return code

    def outcome(self, code: int) -> Outcome:
        outcome = outcome_of(
            code,
            pruned=self.pruned,
            run=self.run,
            log=self.log,
            begin=self._begin,
            metric=self._metric,
            seconds=time.monotonic() - self._started,
        )
        if outcome.state == "pruned":  # the log's last words are those of an interruption
            with self.log.open("a", encoding="utf-8") as log:
                log.write("imclass sweep: pruned\n")
        return outcome
