"""Checkpoints: atomic, verified, never from code, found by step. Rows C1 to C11 of the list of faults."""

import errno
import os
import pickle
import re
import stat
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imclass.errors import StorageError, UserError
from imclass.runs.checkpoint import (
    Checkpointer,
    DamagedCheckpoint,
    newest_checkpoint,
    read_checkpoint,
    read_header,
)

STATE = {"model": {"weight": torch.arange(1000.0)}, "progress": {"step": 3, "best": {"accuracy": 0.5}}}


def rename(source: Path, target: Path) -> str:
    """Name a rename, without the random digits in the names of temporary files."""
    name = re.sub(r"^\.tmp-[0-9a-f]{8}-", ".tmp-", source.name)
    return f"{name}->{target.name}"


def save(checkpointer: Checkpointer, step: int) -> None:
    checkpointer.save_last({**STATE, "step": step}, {"step": step})


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    checkpointer = Checkpointer(tmp_path / "checkpoints")
    save(checkpointer, 7)
    state, header, warnings = newest_checkpoint(checkpointer.last.parent)
    assert torch.equal(state["model"]["weight"], torch.arange(1000.0))
    assert state["progress"] == STATE["progress"]
    assert header["step"] == 7
    assert warnings == []


def test_a_checkpoint_is_an_ordinary_torch_file(tmp_path: Path) -> None:
    checkpointer = Checkpointer(tmp_path)
    save(checkpointer, 1)
    assert torch.load(checkpointer.last, weights_only=True)["step"] == 1
    assert zipfile.ZipFile(checkpointer.last).testzip() is None


def test_written_synced_then_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C1: the file's contents reach the disk before its name does, and then the folder."""
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def is_folder(descriptor: int) -> bool:
        return stat.S_ISDIR(os.fstat(descriptor).st_mode)

    monkeypatch.setattr(
        os, "fsync", lambda d: (events.append("folder" if is_folder(d) else "file"), fsync(d))[1]
    )
    monkeypatch.setattr(Path, "replace", lambda a, b: (events.append(rename(a, b)), replace(a, b))[1])
    checkpointer = Checkpointer(tmp_path)
    save(checkpointer, 1)
    save(checkpointer, 2)
    first = ["file", ".tmp-last.pt->last.pt", "folder"]
    second = ["file", "last.pt->previous.pt", ".tmp-last.pt->last.pt", "folder"]
    assert events == first + second


@pytest.mark.parametrize("die_at", ["file", "last.pt->previous.pt", ".tmp-last.pt->last.pt"])
def test_dying_at_any_point_of_a_save_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, die_at: str
) -> None:
    class Killed(BaseException):
        pass

    checkpointer = Checkpointer(tmp_path)
    save(checkpointer, 1)
    fsync, replace = os.fsync, Path.replace

    def dying_fsync(descriptor: int) -> None:
        if die_at == "file":
            raise Killed
        fsync(descriptor)

    def dying_replace(source: Path, target: Path) -> Path:
        if die_at == rename(source, target):
            raise Killed
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", dying_fsync)
    monkeypatch.setattr(Path, "replace", dying_replace)
    with pytest.raises(Killed):
        save(checkpointer, 2)
    monkeypatch.undo()
    assert newest_checkpoint(checkpointer.last.parent)[1]["step"] == 1
    save(checkpointer, 3)
    assert newest_checkpoint(checkpointer.last.parent)[1]["step"] == 3


@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, position: float, bit: int
) -> None:
    """C2."""
    folder = tmp_path_factory.mktemp("flip")
    checkpointer = Checkpointer(folder)
    save(checkpointer, 1)
    data = bytearray(checkpointer.last.read_bytes())
    data[int(position * len(data))] ^= 1 << bit
    checkpointer.last.write_bytes(data)
    with pytest.raises(DamagedCheckpoint, match="is damaged"):
        read_header(checkpointer.last)


def test_every_flipped_bit_of_the_zip_directory_is_noticed(tmp_path: Path) -> None:
    """C2, where zip files say how they are to be read: versions, lengths, the comment's own length."""
    checkpointer = Checkpointer(tmp_path)
    save(checkpointer, 1)
    data = checkpointer.last.read_bytes()
    directory = data.index(b"PK\1\2")
    end = data.rindex(b"PK\5\6") + 22
    for bit in range(8 * directory, 8 * end):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        checkpointer.last.write_bytes(flipped)
        with pytest.raises(DamagedCheckpoint, match="is damaged"):
            read_header(checkpointer.last)


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "hole"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path, damage: str) -> None:
    checkpointer = Checkpointer(tmp_path)
    save(checkpointer, 1)
    save(checkpointer, 2)
    data = bytearray(checkpointer.last.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    elif damage == "hole":
        data[512:1024] = bytes(512)
    size = {"truncate": len(data) // 2, "empty": 0}.get(damage, len(data))
    checkpointer.last.write_bytes(data[:size])
    state, header, warnings = newest_checkpoint(checkpointer.last.parent)
    assert (state["step"], header["step"]) == (1, 1)
    assert "last.pt is damaged" in warnings[0]
    assert "previous.pt" in warnings[1]
    assert (tmp_path / "damaged-last.pt").read_bytes() == data[:size]  # kept, and out of the way
    save(checkpointer, 2)
    assert read_header(checkpointer.previous)["step"] == 1


def test_when_all_are_damaged_it_says_so(tmp_path: Path) -> None:
    checkpointer = Checkpointer(tmp_path)
    save(checkpointer, 1)
    checkpointer.last.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"last\.pt is damaged.*choose another name"):
        newest_checkpoint(checkpointer.last.parent)


def test_the_newest_is_the_highest_step_not_the_youngest_file(tmp_path: Path) -> None:
    """C8."""
    checkpointer = Checkpointer(tmp_path)
    save(checkpointer, 150)
    save(checkpointer, 50)
    assert newest_checkpoint(checkpointer.last.parent)[1]["step"] == 150


def test_none_yet(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) == ({}, {}, [])


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    """S1: even when the digest is right."""

    class Evil:
        def __reduce__(self):
            return (Path(tmp_path / "ran").touch, ())

    checkpointer = Checkpointer(tmp_path)
    checkpointer.save_last({"model": Evil()}, {"step": 1})
    with pytest.raises(pickle.UnpicklingError):
        read_checkpoint(checkpointer.last)
    assert not (tmp_path / "ran").exists()


def test_no_more_than_two_and_nothing_else_is_kept(tmp_path: Path) -> None:
    checkpointer = Checkpointer(tmp_path)
    (tmp_path / "mine.pt").write_bytes(b"the user's")
    for step in range(5):
        save(checkpointer, step)
    checkpointer.save_best(STATE, {"step": 4})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.pt", "last.pt", "mine.pt", "previous.pt"]
    assert read_header(checkpointer.previous)["step"] == 3


def test_a_full_disk_keeps_the_last_good_one_and_leaves_no_debris(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpointer = Checkpointer(tmp_path)
    save(checkpointer, 1)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"last\.pt: [\d,]+ bytes cannot be written \(No space left"):
        save(checkpointer, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
    assert newest_checkpoint(checkpointer.last.parent)[1]["step"] == 1
