"""Trainings in processes of their own, forked from one server that has torch imported.

So one costs little more than its steps. Several threads may start and await trainings.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.util
import os
import runpy
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from tqdm import tqdm

from imclass.commands.selftest.points import Patch

SERVER = multiprocessing.get_context("forkserver")
PRELOADED = ["imclass.training.lifecycle", "torch.utils.tensorboard", "hydra.main", "hydra.initialize"]
PRELOADED += ["imclass.commands.selftest.warm"]
SERVER.set_forkserver_preload(PRELOADED)
SECONDS = 240  # after which a training hangs
SOCKET_FOLDER = (
    70  # bytes in the path of a temporary folder below which a socket fits: 104 on macOS, 108 on Linux
)
LOG = "log.txt"

# Dropout, several kinds of random augmentation, an average of the weights; 18 steps in three epochs.
# Evaluations at steps 5, 10, 15 and 18; checkpoints there and at every third step.
RUN = (
    "dataset=synthetic",
    "dataset.synthetic.shape=[1,16,16]",
    "dataset.synthetic.classes=4",
    "dataset.synthetic.train=64",
    "dataset.synthetic.test=16",
    "dataset.val_split=16",
    "model=lenet",
    "model.dropout=0.2",
    "train.batch_size=8",
    "train.epochs=3",
    "train.eval_every=5st",
    "train.log_every=2st",
    "train.ema=0.9",
    "train.label_smoothing=0.1",
    "optimizer.lr=0.05",
    "augment.crop=2",
    "augment.flip=true",
    "augment.cutout=4",
    "augment.random_erasing=0.3",
    "augment.mixup=0.4",
    "device.threads=1",
    "device.type=cpu",
    "device.precision=fp32",
    "checkpoint.every=3st",
    "logger.plots=false",
    "logger.quiet=true",
)


class Unexpected(Exception):
    """A training ended in another way than it should; the message has the end of its output."""


def overrides(name: str, *more: str) -> list[str]:
    """Return the settings of RUN with `more` in place of what they override."""
    keys = {setting.split("=")[0] for setting in more}
    return [f"name={name}", *(setting for setting in RUN if setting.split("=")[0] not in keys), *more]


class Training:
    """`imclass train` with `argv` in a process of its own, in `folder`, which gets its output in log.txt.

    command: another command than train. environment: variables on top of this process's.
    """

    alive: ClassVar[set["Training"]] = set()
    stopping: ClassVar[bool] = False
    # multiprocessing reads the exit code of any child in any thread, once: one thread at a time.
    _lock = threading.Lock()

    def __init__(
        self,
        argv: Sequence[str],
        *patches: Patch,
        folder: Path | None = None,
        command: str = "train",
        environment: Mapping[str, str] | None = None,
        log: str = LOG,
    ):
        self.folder, self._log = folder or Path.cwd(), log
        arguments = ([command, *argv], str(self.folder), dict(environment or {}), log, *patches)
        self._process = SERVER.Process(target=run_imclass, args=arguments)
        with self._lock:
            if self.stopping:
                raise Unexpected("stopped")
            keep_socket_paths_short()
            self._process.start()
            self.alive.add(self)

    @classmethod
    def stop_all(cls) -> None:
        """Kill all that are alive, and start no more."""
        with cls._lock:
            cls.stopping, alive = True, list(cls.alive)
        for training in alive:
            training.send(signal.SIGKILL, group=True)

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def exitcode(self) -> int | None:
        """The exit code once it was awaited; negative: the signal that killed it."""
        return self._process.exitcode

    @property
    def log(self) -> str:
        file = self.folder / self._log
        return file.read_text(errors="replace") if file.is_file() else ""

    def is_alive(self) -> bool:
        with self._lock:
            return self._process.is_alive()

    def wait(self, seconds: float = SECONDS) -> int | None:
        """Wait for its end; after `seconds` kill it. Return the exit code."""
        if not multiprocessing.connection.wait([self._process.sentinel], seconds):
            self.send(signal.SIGKILL, group=True)
            multiprocessing.connection.wait([self._process.sentinel])
        with self._lock:
            self._process.join()
            self.alive.discard(self)
        return self.exitcode

    def until(self, ready: Callable[[], bool]) -> None:
        """Wait for something that it does, or for its end."""
        while self.is_alive() and not ready():
            time.sleep(0.002)

    def send(self, number: int, *, group: bool = False) -> None:
        """Send it, or its process group, a signal, unless it has just ended."""
        if not self.is_alive():
            return
        if group:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)
                return
        with contextlib.suppress(ProcessLookupError):  # no group of its own yet, or none wanted
            os.kill(self.pid, number)


def keep_socket_paths_short() -> None:
    """Keep multiprocessing's sockets below /tmp where the path of the temporary folder is too long for them.

    Python 3.14 does so itself. Its first call decides for the life of this process and its children.
    """
    before = tempfile.tempdir
    if len(os.fsencode(tempfile.gettempdir())) > SOCKET_FOLDER:
        tempfile.tempdir = "/tmp"
    multiprocessing.util.get_temp_dir()
    tempfile.tempdir = before


def wait(seconds: float, ended: Callable[[], bool]) -> None:
    """Wait so long, or until it has ended, or until all are stopped."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not ended() and not Training.stopping:
        time.sleep(0.002)


def finish(argv: Sequence[str], *patches: Patch, code: int = 0, folder: Path | None = None) -> str:
    """Train to an end with this exit code; negative: the signal that killed it. Return its output so far.

    Raises Unexpected.
    """
    training = Training(argv, *patches, folder=folder)
    if training.wait() != code:
        raise Unexpected(f"exit code {training.exitcode} where {code} was due\n{training.log[-3000:]}")
    return training.log


def run_imclass(
    argv: list[str], folder: str, environment: Mapping[str, str], log: str, *patches: Patch
) -> None:
    """Be `python -m imclass ...` as the whole of this process, in `folder` and a process group of its own."""
    os.setsid()
    os.chdir(folder)
    tempfile.tempdir = folder  # a kill leaves temporary folders behind
    os.environ.update(environment, TMPDIR=folder)
    tqdm.set_lock(threading.RLock())  # its own would be one between processes, which a kill leaks
    output = sys.stdout = sys.stderr = Path(log).open("a")  # noqa: SIM115
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    for patch in patches:
        patch()
    sys.argv = ["imclass", *argv]
    runpy.run_module("imclass", run_name="__main__")  # ends this process
