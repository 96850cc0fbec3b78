"""A full disk: the last good checkpoint loads, nothing half-written stays, and the same command goes on."""

import builtins
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from imclass.commands.selftest.trainings import Training, finish, overrides
from imclass.commands.selftest.trial import (
    Bench,
    Lost,
    Trial,
    require_no_traceback,
    require_said,
    require_same,
    require_same_weights,
)
from imclass.errors import EXIT_STORAGE

LOGS = ("train.log", "metrics.jsonl", "metrics.csv", "events.out.tfevents")


@dataclass(frozen=True)
class Limit:
    """No file may become longer than so many bytes, as on a disk that is full."""

    size: int

    def __call__(self) -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))


@dataclass(frozen=True)
class Full:
    """Writes to files with this in their name fail: the disk under them is full."""

    name: str

    def __call__(self) -> None:
        wrapped, original = Path.open, builtins.open

        def open_path(path: Path, *args: Any, **kwargs: Any) -> Any:
            return self._refusing(path, wrapped(path, *args, **kwargs))

        def open_file(file: Any, *args: Any, **kwargs: Any) -> Any:
            return self._refusing(file, original(file, *args, **kwargs))

        Path.open, builtins.open = open_path, open_file  # type: ignore[method-assign,assignment]
        self._refuse_descriptors()

    def _refuse_descriptors(self) -> None:
        """The same for what is opened and written by descriptor."""
        opened, written = os.open, os.write
        full: set[int] = set()

        def open_descriptor(path: Any, *args: Any, **kwargs: Any) -> int:
            descriptor = opened(path, *args, **kwargs)
            (full.add if self.name in str(path) else full.discard)(descriptor)
            return descriptor

        def write(descriptor: int, data: Any) -> int:
            if descriptor in full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return written(descriptor, data)

        os.open, os.write = open_descriptor, write

    def _refusing(self, name: Any, file: Any) -> Any:
        return _Refusing(file, name) if self.name in str(name) and file.writable() else file


class _Refusing:
    """A file whose disk is full."""

    def __init__(self, file: Any, name: Any):
        self._file, self._name = file, name

    def write(self, data: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._name))

    writelines = write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_Refusing":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def trials(bench: Bench) -> Iterator[Trial]:
    """Yield limits that rise to what the largest file needs, and each log alone."""
    whole = bench.whole()
    largest = max(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    count = bench.share(1 / 4)
    for number in range(count):
        size = round(100 * (1.1 * largest / 100) ** (number / max(1, count - 1)))
        yield Trial("a full disk", f"files up to {size:,} bytes", partial(_train_limited, size, whole))
    for name in LOGS:
        yield Trial("a full disk under one log", name, partial(_train_without, name, whole))
    if Path("/dev/full").exists():
        yield Trial("a full disk under one log", "standard output", partial(_train_unheard, whole))


def _train_limited(size: int, whole: Path, folder: Path) -> None:
    from imclass.runs.checkpointer import newest_checkpoint

    run = folder / "outputs/limited"
    training = Training(overrides("limited"), Limit(size), folder=folder)
    if training.wait() not in (0, EXIT_STORAGE):
        raise Lost(f"exit code {training.exitcode} with files up to {size} bytes\n{training.log[-3000:]}")
    require_no_traceback(training.log)
    newest_checkpoint(run / "checkpoints")
    if debris := sorted(str(path) for path in run.rglob(".tmp-*")):
        raise Lost(f"debris: {', '.join(debris)}")
    finish(overrides("limited"), folder=folder)
    if training.exitcode == 0:  # it warned of what its logs lack
        require_same_weights(run, whole)
    else:
        require_same(run, whole)


def _train_without(name: str, whole: Path, folder: Path) -> None:
    log = finish(overrides("unlogged"), Full(name), folder=folder)
    require_said(name, log, folder / "outputs/unlogged")
    require_no_traceback(log)
    require_same_weights(folder / "outputs/unlogged", whole)


def _train_unheard(whole: Path, folder: Path) -> None:
    training = Training(overrides("unheard", "logger.quiet=false"), folder=folder, log="/dev/full")
    if training.wait():
        raise Lost(f"exit code {training.exitcode} where nobody can hear it")
    require_same_weights(folder / "outputs/unheard", whole)
