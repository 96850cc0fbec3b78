"""Processes that prepare one data set at the same time, one of which is killed.

Each writes a line to a log when it has prepared them, and when it has them.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

from imclass.commands.selftest.trainings import SERVER
from imclass.config.schema import DatasetConfig
from imclass.data import sources
from imclass.data.datasets import load_dataset
from imclass.data.folder import cache
from imclass.data.sources import Source, download

SECONDS = 60  # after which they hang
CONTENT = b"archive" * 1_000


def note(log: Path, word: str) -> None:
    with log.open("a") as file:  # one write: lines of several processes do not mix
        file.write(f"{word} {os.getpid()}\n")


def prepared(log: Path) -> None:
    """Say that a preparation is complete but for its name; the first one waits there to be killed."""
    note(log, "prepared")
    if log.read_text().count("prepared") == 1:
        time.sleep(SECONDS)


def load_folder(root: Path) -> None:
    """Load an image folder with an empty cache."""
    os.environ["IMCLASS_CACHE"] = str(root.parent / "cache")
    sync = cache.sync

    def synced(path: Path) -> None:
        sync(path)
        if b"'shape': (10," in path.read_bytes():  # the images; the fingerprint is cached likewise
            prepared(root.parent / "log")

    cache.sync = synced
    data = load_dataset(DatasetConfig(name="image_folder", root=str(root)))
    note(root.parent / "log", f"has {data.fingerprint}")


def fetch(root: Path) -> None:
    """Download a file."""
    sources._download = lambda url, target, largest: target.write_bytes(CONTENT)
    source = Source(["https://example.invalid"], len(CONTENT), lambda path: prepared(root.parent / "log"))
    download(DatasetConfig(name="cifar10", root=str(root)), root, {"archive": source})
    note(root.parent / "log", f"has {(root / 'archive').read_bytes() == CONTENT}")


def prepare_together(task: Callable[[Path], None], root: Path, processes: int) -> tuple[list[int], list[str]]:
    """Run the task in processes at the same time; kill the first that is about to name what it prepared.

    Return the exit codes of the others and the log's lines without process numbers.
    """
    log = root.parent / "log"
    running = [SERVER.Process(target=task, args=(root,)) for _ in range(processes)]
    for process in running:
        process.start()
    deadline = time.monotonic() + SECONDS
    while not (log.exists() and log.read_text().endswith("\n")):
        assert time.monotonic() < deadline, "none has prepared anything"
        time.sleep(0.01)
    first = int(log.read_text().split()[1])
    (killed,) = (process for process in running if process.pid == first)
    killed.kill()
    for process in running:
        process.join(max(0.1, deadline - time.monotonic()))
    codes = [
        -99 if process.exitcode is None else process.exitcode for process in running if process is not killed
    ]
    for process in running:
        process.kill()
    return codes, [line.rpartition(" ")[0] for line in log.read_text().splitlines()]
