"""Trainings in processes of their own, killed or asked to stop at named points.

They are forked from one server that has torch imported, so that one costs little more than its steps.
"""

import contextlib
import importlib
import itertools
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from conftest import QUICK, merged
from torch.optim.optimizer import register_optimizer_step_post_hook

from imclass import cli

Patch = Callable[[], None]
Reached = Callable[..., None]

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["conftest", "imclass.training.lifecycle", "torch.utils.tensorboard", "hydra.main", "hydra.initialize"]
)
SECONDS = 240  # after which a training hangs

# Dropout, several kinds of random augmentation, an average of the weights; 18 steps in three epochs.
# Evaluations at steps 5, 10, 15 and 18; checkpoints there and at every third step.
RUN = [
    "model.dropout=0.2",
    "dataset.synthetic.train=64",
    "dataset.synthetic.test=16",
    "dataset.val_split=16",
    "train.batch_size=8",
    "train.epochs=3",
    "train.eval_every=5st",
    "train.log_every=2st",
    "train.ema=0.9",
    "train.label_smoothing=0.1",
    "augment.flip=true",
    "augment.cutout=4",
    "augment.random_erasing=0.3",
    "augment.mixup=0.4",
    "checkpoint.every=3st",
    "logger.quiet=true",
]


def overrides(name: str, *more: str) -> list[str]:
    return [f"name={name}", *merged(merged(QUICK, RUN), more)]


# Named points: each installs a hook that calls `reached` whenever a training comes by.


def call(function: str, *, returned: bool = False) -> Callable[[Reached], None]:
    """When `module:function` or `module:class.method` is called, or has returned."""
    module, _, path = function.partition(":")

    def install(reached: Reached) -> None:
        *owners, name = path.split(".")
        owner = importlib.import_module(module)
        for part in owners:
            owner = getattr(owner, part)
        original = getattr(owner, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if not returned:
                reached()
            result = original(*args, **kwargs)
            if returned:
                reached()
            return result

        setattr(owner, name, wrapper)

    return install


def rename(target: str, *, done: bool = False) -> Callable[[Reached], None]:
    """When a file is about to be renamed to `target`, or has been."""

    def install(reached: Reached) -> None:
        replace = Path.replace

        def wrapper(self: Path, to: Path) -> Path:
            here = Path(to).name == target
            if here and not done:
                reached()
            result = replace(self, to)
            if here and done:
                reached()
            return result

        Path.replace = wrapper  # type: ignore[method-assign]

    return install


def half_written(target: str) -> Callable[[Reached], None]:
    """When half of what becomes `target` is written."""

    def install(reached: Reached) -> None:
        write_bytes = Path.write_bytes

        def wrapper(self: Path, data: bytes) -> int:
            if self.name.endswith(target):
                reached(lambda: write_bytes(self, data[: len(data) // 2]))
            return write_bytes(self, data)

        Path.write_bytes = wrapper  # type: ignore[method-assign]

    return install


def optimizer_step(reached: Reached) -> None:
    """When the weights have changed and the step is not yet counted."""
    register_optimizer_step_post_hook(lambda *_: reached())


POINTS: dict[str, Callable[[Reached], None]] = {
    "data preparation": call("imclass.training.build:prepare_data"),
    "building the model": call("imclass.training.build:build_network"),
    "before the first step": call("imclass.training.trainer:Trainer.fit"),
    "in a step": optimizer_step,
    "between two log lines": call("imclass.runs.metrics_file:MetricsFile.write", returned=True),
    "in an evaluation": call("imclass.evaluation.evaluate:logits_of"),
    "half of last.pt written": half_written("last.pt"),
    "before last.pt becomes previous.pt": rename("previous.pt"),
    "before the rename to last.pt": rename("last.pt"),
    "after the rename to last.pt": rename("last.pt", done=True),
    "before the rename to best.pt": rename("best.pt"),
    "after the rename to best.pt": rename("best.pt", done=True),
    "before the test": call("imclass.training.lifecycle:conclude"),
    "before the rename to best.safetensors": rename("best.safetensors"),
    "before the rename to summary.json": rename("summary.json"),
    "before the rename to report.html": rename("report.html"),
}


class At(NamedTuple):
    """Send this process, or its group, a signal when it comes by a point for the `nth` time."""

    point: str
    nth: int = 1
    signal: int = signal.SIGKILL
    group: bool = False

    def __call__(self) -> None:
        count = itertools.count(1)

        def reached(first: Callable[[], object] = lambda: None) -> None:
            if next(count) == self.nth:
                first()
                (os.killpg if self.group else os.kill)(os.getpid(), self.signal)

        POINTS[self.point](reached)


class Hold(NamedTuple):
    """Stay at a point: leave a file there that says so, and wait to be killed."""

    point: str
    nth: int = 1

    def __call__(self) -> None:
        count = itertools.count(1)

        def reached(_: object = None) -> None:
            if next(count) == self.nth:
                Path("held").touch()
                while True:
                    signal.pause()

        POINTS[self.point](reached)


def run_train(argv: list[str], folder: str, *patches: Patch) -> None:
    """Run `imclass train` as the whole of this process, in `folder`, in a process group of its own."""
    os.setsid()
    os.chdir(folder)
    sys.stdout = sys.stderr = Path("log.txt").open("a")  # noqa: SIM115
    for patch in patches:
        patch()
    code = cli.main(["train", *argv])
    sys.stdout.flush()
    os._exit(code)


def start(argv: Sequence[str], *patches: Patch) -> Any:
    """Start a training in the current folder; return its process."""
    process = SERVER.Process(target=run_train, args=(list(argv), str(Path.cwd()), *patches))
    process.start()
    return process


def finish(argv: Sequence[str], *patches: Patch, code: int = 0) -> None:
    """Train to an end with this exit code; negative: the signal that killed it."""
    process = start(argv, *patches)
    process.join(SECONDS)
    process.kill()
    assert process.exitcode == code, Path("log.txt").read_text()[-3000:]


def until(process: Any, ready: Callable[[], bool]) -> None:
    """Wait for something that a training does, or for its end."""
    while process.is_alive() and not ready():
        time.sleep(0.002)


def send(process: Any, how: int, *, group: bool = False) -> None:
    """Send a signal to a process, or to its group, unless it has just ended."""
    with contextlib.suppress(ProcessLookupError):
        if process.is_alive():
            (os.killpg if group else os.kill)(process.pid, how)


def logged_step(run: Path) -> int:
    """Return the last step in metrics.jsonl, -1 before the first."""
    file = run / "metrics.jsonl"
    lines = file.read_text().split("\n")[:-1] if file.exists() else []  # without one that is being written
    return json.loads(lines[-1])["step"] if lines else -1
