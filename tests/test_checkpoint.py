"""Checkpoints: atomic, verified, never from code, found by step. Rows C1 to C11 of the list of faults."""

import errno
import itertools
import json
import os
import re
import stat
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from imclass.errors import StorageError, UserError
from imclass.runs import checkpoint
from imclass.runs.checkpoint import DamagedCheckpoint, load_checkpoint, read_checkpoint
from imclass.runs.checkpointer import Checkpointer, newest_checkpoint
from imclass.runs.logger import missing_logs

STATE = {"model": {"weight": torch.arange(1000.0)}, "progress": {"step": 3, "best": {"accuracy": 0.5}}}


def rename(source: Path, target: Path) -> str:
    """Name a rename, without the random digits in the names of temporary files."""
    name = re.sub(r"^\.tmp-[0-9a-f]{8}-", ".tmp-", source.name)
    return f"{name}->{target.name}"


def save(checkpointer: Checkpointer, step: int) -> None:
    checkpointer.save_last({**STATE, "step": step}, {"step": step})


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of step 1, to be read only."""
    checkpointer = Checkpointer(tmp_path_factory.mktemp("saved"))
    save(checkpointer, 1)
    return checkpointer.last


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


@pytest.mark.fault("C1")
def test_written_synced_then_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's contents reach the disk before its name does, and then the folder."""
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
    second = ["file", ".tmp-previous.pt->previous.pt", ".tmp-last.pt->last.pt", "folder"]
    assert events == first + second


@pytest.mark.fault("C1")
@pytest.mark.parametrize("die_at", ["file", ".tmp-previous.pt->previous.pt", ".tmp-last.pt->last.pt"])
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


@pytest.mark.fault("C2")
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_noticed(saved: Path, position: float, bit: int) -> None:
    data = bytearray(saved.read_bytes())
    data[int(position * len(data))] ^= 1 << bit
    flipped = saved.with_name("flipped.pt")
    flipped.write_bytes(data)
    with pytest.raises(DamagedCheckpoint, match="is damaged"):
        load_checkpoint(flipped)[0]


@pytest.mark.fault("C2")
def test_every_flipped_bit_of_the_zip_directory_is_noticed(tmp_path: Path) -> None:
    """Where zip files say how they are to be read: versions, lengths, the comment's own length."""
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
            load_checkpoint(checkpointer.last)[0]


@pytest.mark.fault("C2")
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
    assert load_checkpoint(checkpointer.previous)[0]["step"] == 1


@pytest.mark.fault("C2")
def test_when_all_are_damaged_it_says_so(tmp_path: Path) -> None:
    checkpointer = Checkpointer(tmp_path)
    save(checkpointer, 1)
    checkpointer.last.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"last\.pt is damaged.*choose another name"):
        newest_checkpoint(checkpointer.last.parent)


@pytest.mark.fault("C8")
def test_the_newest_is_the_highest_step_not_the_youngest_file(tmp_path: Path) -> None:
    checkpointer = Checkpointer(tmp_path)
    save(checkpointer, 150)
    save(checkpointer, 50)
    _, header, warnings = newest_checkpoint(checkpointer.last.parent)
    assert header["step"] == 150
    assert warnings == [
        f"{checkpointer.last} has step 50 only: resuming from {checkpointer.previous}, step 150"
    ]


@pytest.mark.fault("C2")
def test_damaged_files_of_earlier_resumes_are_kept(tmp_path: Path) -> None:
    checkpointer = Checkpointer(tmp_path)
    for number in (1, 2):
        save(checkpointer, 1)
        save(checkpointer, 2)
        checkpointer.last.write_bytes(bytes(number))
        newest_checkpoint(tmp_path)
    assert [(tmp_path / f"damaged-{n}last.pt").stat().st_size for n in ("", "2-")] == [1, 2]


@pytest.mark.fault("C2")
def test_a_checkpoint_whose_log_positions_are_invalid_is_passed_over(tmp_path: Path) -> None:
    checkpointer = Checkpointer(tmp_path)
    for step, logger in ((1, {}), (2, 3)):
        checkpointer.save_last({**STATE, "logger": logger}, {"step": step})
    _, header, warnings = newest_checkpoint(tmp_path, lambda state: missing_logs(tmp_path, state["logger"]))
    assert header["step"] == 1
    assert "records invalid log positions (expected an object, not 3)" in warnings[0]


def test_none_yet(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) == ({}, {}, [])


@pytest.mark.fault("C9")
def test_a_run_saves_tensors_and_plain_values_only(run) -> None:
    """So that any version of torch reads it without code, and without imclass."""

    def kinds(value: object) -> set[type]:
        parts = (
            value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        )
        return {type(value)}.union(*map(kinds, parts))

    plain = {dict, OrderedDict, list, tuple, str, int, float, bool, type(None), torch.Tensor}
    for path in (run / "checkpoints").iterdir():
        state = torch.load(path, weights_only=True)
        assert kinds(state) <= plain
        assert yaml.safe_load(state["about"]["config"])["model"]["name"] == "lenet"
        assert json.loads(json.dumps(load_checkpoint(path)[0])) == load_checkpoint(path)[0]


@pytest.mark.fault("S1")
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    """Even when the digest is right."""

    class Evil:
        def __reduce__(self):
            return (Path(tmp_path / "ran").touch, ())

    checkpointer = Checkpointer(tmp_path)
    checkpointer.save_last({"model": Evil()}, {"step": 1})
    with pytest.raises(DamagedCheckpoint, match="contains objects other than tensors and plain values"):
        read_checkpoint(checkpointer.last)
    assert not (tmp_path / "ran").exists()


@pytest.mark.fault("C7")
def test_no_more_than_two_and_nothing_else_is_kept(tmp_path: Path) -> None:
    checkpointer = Checkpointer(tmp_path)
    (tmp_path / "mine.pt").write_bytes(b"the user's")
    for step in range(5):
        save(checkpointer, step)
    checkpointer.keep_best(STATE["model"], {"step": 4})
    checkpointer.write_best()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.pt", "last.pt", "mine.pt", "previous.pt"]
    assert load_checkpoint(checkpointer.previous)[0]["step"] == 3


@pytest.mark.fault("C7")
@pytest.mark.parametrize("links", [True, False])
def test_the_newest_is_there_at_every_moment_of_a_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Where the file system has links; elsewhere `previous.pt` is."""
    checkpointer, replace, seen = Checkpointer(tmp_path), Path.replace, []
    save(checkpointer, 1)
    save(checkpointer, 2)

    def watched(source: Path, target: Path) -> Path:
        result = replace(source, target)
        seen.append({path.name for path in tmp_path.glob("[!.]*")})
        return result

    def refused(link: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "replace", watched)
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", refused)
    save(checkpointer, 3)
    both = {"last.pt", "previous.pt"}
    assert seen == [both if links else {"previous.pt"}, both]
    steps = [load_checkpoint(path)[0]["step"] for path in (checkpointer.last, checkpointer.previous)]
    assert steps == [3, 2]
    assert {path.name for path in tmp_path.iterdir()} == both


def full(*args: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


SHORT = r"last\.pt: cannot be written \(No space left on device\): [\d,]+ bytes needed, [\d,]+ are free; "


@pytest.mark.fault("C3")
def test_a_full_disk_is_warned_of_once_and_ends_the_run_at_the_third_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    checkpointer = Checkpointer(tmp_path, warn=said.append)
    save(checkpointer, 1)
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        save(checkpointer, 2)
        save(checkpointer, 3)
        assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
        (warning,) = said
        assert re.match(f".*{SHORT}training goes on, the next save tries again$", warning)
    save(checkpointer, 4)
    assert said[1:] == ["checkpoints can be written again: step 4 is saved"]
    monkeypatch.setattr(os, "fsync", full)
    save(checkpointer, 5)
    save(checkpointer, 6)
    with pytest.raises(StorageError, match=f"{SHORT}the checkpoint of step 4 is kept: make room, and the"):
        save(checkpointer, 7)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "previous.pt"]
    assert newest_checkpoint(tmp_path)[1]["step"] == 4


@pytest.mark.fault("C3")
def test_a_save_that_nothing_follows_fails_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=f"{SHORT}there is no checkpoint yet: make room"):
        Checkpointer(tmp_path).save_last(STATE, {"step": 1}, final=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("C3")
def test_no_checkpoint_says_more_of_the_best_model_than_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpointer = Checkpointer(tmp_path, warn=lambda text: None)
    weights = {"weight": torch.zeros(3)}
    checkpointer.keep_best(weights, {"step": 1})
    weights["weight"] += 1  # trained on
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        save(checkpointer, 1)
    assert list(tmp_path.iterdir()) == []
    save(checkpointer, 2)
    assert load_checkpoint(checkpointer.best)[0]["step"] == 1
    assert torch.equal(read_checkpoint(checkpointer.best)["model"]["weight"], torch.zeros(3))


@pytest.mark.fault("C3")
def test_every_write_of_a_save_may_be_the_one_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch hides the error of a write behind its own, "unexpected pos"."""
    checkpointer, write = Checkpointer(tmp_path), checkpoint._write_all
    save(checkpointer, 1)
    for whole in itertools.count():
        left = itertools.count(whole, -1)

        def writing(raw: BinaryIO, data: bytes, left: Iterator[int] = left) -> None:
            if raw.name != os.devnull and next(left) == 0:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))  # as ENOSPC: a limit of file sizes
            write(raw, data)

        monkeypatch.setattr(checkpoint, "_write_all", writing)
        try:
            checkpointer.save_last({**STATE, "step": 2}, {"step": 2}, final=True)
        except StorageError as error:
            assert "(File too large)" in str(error)
            assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
            assert load_checkpoint(checkpointer.last)[0]["step"] == 1
        else:
            break
    assert whole > 10
    assert newest_checkpoint(tmp_path)[1]["step"] == 2
