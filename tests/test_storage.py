"""A disk that is full at any write of a run: one line, nothing lost, and the same command goes on. Row C3."""

import errno
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from conftest import QUICK, merged, records

from imclass.errors import StorageError
from imclass.runs import atomic, checkpoint
from imclass.runs.atomic import write_atomically
from imclass.runs.checkpoint import load_checkpoint, read_checkpoint
from imclass.runs.checkpointer import Checkpointer

Fail = Callable[..., None]


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Let every write of a file of this name fail that is replaced as a whole, if it holds the text."""
    broken, sync = ["", ""], atomic.sync

    def syncing(path: Path) -> None:
        name, text = broken
        if name and path.name.endswith(f"-{name}") and text.encode() in path.read_bytes():
            raise full()
        sync(path)

    def of(name: str, text: str = "") -> None:
        broken[:] = name, text

    monkeypatch.setattr(atomic, "sync", syncing)
    return of


@pytest.mark.fault("C3")
def test_a_full_disk_at_each_file_of_a_run_in_turn(imclass, train, tmp_path: Path, fail: Fail) -> None:
    """The same command gets one file further each time, and ends as the run that nothing disturbed."""
    short = ["train.epochs=0.5"]
    whole, run = train("whole", *short), tmp_path / "outputs/run"
    files = ("config.yaml", "provenance.json", "samples.png", "summary.json", "best.safetensors")
    files += ("evaluation.json", "report.html")
    last = "summary.json", '"finished"'
    for name, *text in (*((file,) for file in files), last):
        fail(name, *text)
        draw = f"logger.plots={'true' if name.endswith('.png') else 'false'}"
        outcome = imclass("train", "name=run", *merged(QUICK, [*short, draw]))
        assert outcome.code == 5, outcome.err + outcome.out
        assert f"{name}: cannot be written (No space left on device)" in outcome.err
        assert "bytes needed" in outcome.err and "make room, and repeat the command" in outcome.err
        assert [line for line in outcome.err.splitlines() if "warning" not in line][1:] == []
        assert list(run.rglob(".tmp-*")) == []
    fail("")
    assert imclass("train", "name=run", *merged(QUICK, short)).code == 0
    assert records(run) == records(whole)
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"


class Disk:
    """The disk under the checkpoints: full from its nth save to another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.saves, self.full = 0, range(0)
        write = checkpoint._write

        def writing(raw: BinaryIO, state: checkpoint.State, header: checkpoint.Header) -> int:
            if str(raw.name).endswith("-last.pt"):
                self.saves += 1
                if self.saves in self.full:
                    raise full()
            return write(raw, state, header)

        monkeypatch.setattr(checkpoint, "_write", writing)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


# Saves after steps 4, 8 and so on, and after both evaluations: 4, 8, 9, 12, 16, 18.
OFTEN = "checkpoint.every=4st"


@pytest.mark.fault("C3")
def test_training_goes_on_while_a_disk_is_full(imclass, train, tmp_path: Path, disk: Disk) -> None:
    whole = train("whole", OFTEN)
    disk.saves, disk.full = 0, range(2, 4)
    outcome = imclass("train", "name=run", *merged(QUICK, [OFTEN]))
    assert outcome.code == 0
    assert outcome.err.count("cannot be written") == 1
    assert "bytes needed" in outcome.err and "training goes on, the next save tries again" in outcome.err
    assert "step 12 is saved" in outcome.err
    run = tmp_path / "outputs/run"
    assert records(run) == records(whole)
    best = [load_checkpoint(folder / "checkpoints/best.pt")[0] for folder in (run, whole)]
    assert best[0] == best[1]


@pytest.mark.fault("C3")
def test_the_third_failure_ends_the_run_and_the_same_command_resumes(
    imclass, train, tmp_path: Path, disk: Disk
) -> None:
    whole = train("whole", OFTEN)
    disk.saves, disk.full = 0, range(2, 100)
    outcome = imclass("train", "name=run", *merged(QUICK, [OFTEN]))
    assert (outcome.code, disk.saves) == (5, 4)
    warning, error = outcome.err.splitlines()
    assert "training goes on" in warning
    assert "the checkpoint of step 4 is kept: make room, and the same command resumes from it" in error
    run = tmp_path / "outputs/run"
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.pt", "last.pt"]
    assert read_checkpoint(run / "checkpoints/last.pt")["progress"]["step"] == 4
    assert json.loads((run / "summary.json").read_text())["status"] == "failed"
    disk.full = range(0)
    assert imclass("train", "name=run", *merged(QUICK, [OFTEN])).code == 0
    assert records(run) == records(whole)


@pytest.mark.fault("C3")
def test_the_last_save_of_a_run_must_succeed(imclass, tmp_path: Path, disk: Disk) -> None:
    disk.full = range(1, 100)
    outcome = imclass("train", "name=run", *merged(QUICK, ["train.epochs=0.5"]))
    assert (outcome.code, outcome.err.count("\n")) == (5, 1)
    assert "there is no checkpoint yet: make room, and the same command starts again" in outcome.err
    run = tmp_path / "outputs/run"
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["best.pt"]
    assert list(run.rglob(".tmp-*")) == []


@pytest.mark.fault("C3")
def test_a_limit_of_file_sizes_is_named_with_what_raises_it(tmp_path: Path) -> None:
    """`ulimit -f` is the process's: room on the disk would not help."""
    limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    weights = {"weight": torch.zeros(2_000)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, hard))
    try:
        with pytest.raises(StorageError, match=r"\(File too large\).*; raise .* \(ulimit -f\), and repeat"):
            write_atomically(tmp_path / "file.bin", bytes(8_000))
        with pytest.raises(StorageError, match="no checkpoint yet: raise this process's limit"):
            Checkpointer(tmp_path / "checkpoints").save_last(weights, {"step": 1}, final=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    assert list(tmp_path.rglob("*.*")) == []
