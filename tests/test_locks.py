"""One run folder, many processes."""

import os
import signal
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from imclass.commands.selftest.trainings import SERVER
from imclass.config.schema import Config
from imclass.errors import UserError
from imclass.runs.folder import open_run
from imclass.runs.locks import LOCK, lock_folder

PROCESSES = 16


def hold(folder: str, go: Event, outcomes: "Queue[str]") -> None:
    go.wait()
    try:
        with lock_folder(Path(folder)):
            outcomes.put("held")
            signal.pause()
    except UserError as error:
        outcomes.put(str(error))


def create(folder: str, go: Event, outcomes: "Queue[str]") -> None:
    run = open_run(Config(output_dir=folder))
    run.path = Path(folder) / "of this second"
    go.wait()
    with run.locked():
        outcomes.put(str(run.create().path))


def sixteen(target, folder: Path) -> tuple[list, list[str]]:
    """Run `target` in 16 processes at once; return them, and what each has put into the queue."""
    go, outcomes = SERVER.Event(), SERVER.Queue()
    processes = [SERVER.Process(target=target, args=(str(folder), go, outcomes)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    go.set()
    return processes, [outcomes.get(timeout=120) for _ in processes]


@pytest.mark.fault("R4")
def test_of_16_processes_one_holds_the_folder_until_it_is_killed(tmp_path: Path) -> None:
    processes, outcomes = sixteen(hold, tmp_path)
    assert outcomes.count("held") == 1
    named = int((tmp_path / LOCK).read_text().split()[1])
    (holder,) = (process for process in processes if process.pid == named)
    refusals = [text for text in outcomes if text != "held"]
    assert all(text.startswith(f"{tmp_path}: is in use by ") for text in refusals), refusals
    holder.kill()
    for process in processes:
        process.join()
    assert (tmp_path / LOCK).exists()  # it names a process that is gone, and locks nothing
    with lock_folder(tmp_path):
        pass


@pytest.mark.fault("R8")
def test_16_processes_of_one_second_get_16_folders(tmp_path: Path) -> None:
    processes, outcomes = sixteen(create, tmp_path)
    for process in processes:
        process.join()
    assert len(set(outcomes)) == PROCESSES
    assert all((Path(path) / "config.yaml").is_file() for path in outcomes)


@pytest.mark.fault("S11")
@pytest.mark.parametrize("kind", ["link", "FIFO", "folder"])
def test_a_lock_is_a_regular_file(tmp_path: Path, kind: str) -> None:
    precious, lock = tmp_path / "precious", tmp_path / "run" / LOCK
    precious.write_text("precious")
    lock.parent.mkdir()
    {"link": lambda: lock.symlink_to(precious), "FIFO": lambda: os.mkfifo(lock), "folder": lock.mkdir}[kind]()
    with pytest.raises((UserError, IsADirectoryError), match=LOCK), lock_folder(lock.parent):
        pass
    assert precious.read_text() == "precious"
    assert os.path.lexists(lock)
