"""Many jobs prepare one data set: one does it, the others wait, and a killed one is in nobody's way."""

import shutil
from collections.abc import Callable
from pathlib import Path

import preparing
import pytest
from pictures import make_folder


def round_of(task: Callable[[Path], None], root: Path, processes: int) -> None:
    (root.parent / "log").unlink(missing_ok=True)
    codes, lines = preparing.prepare_together(task, root, processes)
    assert codes == [0] * (processes - 1)
    assert lines.count("prepared") == 2  # by the one that was killed, and by one of the others
    having = [line for line in lines if line.startswith("has ")]
    assert len(having) == processes - 1
    assert len(set(having)) == 1
    assert having[0] != "has False"


def folder_rounds(tmp_path: Path, processes: int, rounds: int) -> None:
    root = make_folder(tmp_path / "pictures", {"train": 3, "test": 2})
    for _ in range(rounds):
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        round_of(preparing.load_folder, root, processes)
        assert not list((tmp_path / "cache").glob(".tmp-*"))


def download_rounds(tmp_path: Path, processes: int, rounds: int) -> None:
    root = tmp_path / "data"
    for _ in range(rounds):
        shutil.rmtree(root, ignore_errors=True)
        round_of(preparing.fetch, root, processes)
        assert {path.name for path in root.iterdir()} == {"archive", ".archive.lock"}


@pytest.mark.fault("D1")
@pytest.mark.parametrize("rounds", [folder_rounds, download_rounds])
def test_eight_processes_and_one_killed(rounds: Callable[..., None], tmp_path: Path) -> None:
    rounds(tmp_path, 8, 2)


@pytest.mark.soak
@pytest.mark.fault("D1")
@pytest.mark.parametrize("rounds", [folder_rounds, download_rounds])
def test_thirty_two_processes_and_one_killed(rounds: Callable[..., None], tmp_path: Path) -> None:
    rounds(tmp_path, 32, 10)
