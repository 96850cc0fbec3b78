"""Weights in files: damage is noticed wherever it is, and what is odd in them is one line."""

import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import QUICK, merged
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from imclass.errors import UserError
from imclass.runs.checkpoint import (
    read_model_weights,
    write_checkpoint,
)
from imclass.runs.checkpointer import newest_checkpoint
from imclass.runs.weights import read_weights, write_safetensors

TENSORS = {
    "layer.weight": torch.arange(600.0).view(20, 30),
    "layer.bias": torch.linspace(-1, 1, 20).bfloat16(),
    "norm.num_batches_tracked": torch.tensor(7),
    "norm.empty": torch.zeros(0, 4),
}
ABOUT = {"classes": '["cat", "naïve \\"dog\\"\\n"]', "accuracy": "0.5", "config": "model:\n  name: lenet\n"}

Damage = Callable[[bytearray, random.Random], bytes]


def flipped(data: bytearray, chance: random.Random) -> bytes:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def cut(data: bytearray, chance: random.Random) -> bytes:
    return bytes(data[: chance.randrange(len(data))])


def holed(data: bytearray, chance: random.Random) -> bytes:
    """Zeros in place of up to 512 bytes, as where a block never reached the disk."""
    whole, start = bytes(data), chance.randrange(len(data))
    data[start : start + 512] = bytes(len(data[start : start + 512]))
    return bytes(data) if bytes(data) != whole else flipped(data, chance)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A file of each kind: best.safetensors, best.pt, last.pt."""
    folder = tmp_path_factory.mktemp("whole")
    write_safetensors(folder / "best.safetensors", TENSORS, ABOUT)
    write_checkpoint(folder / "best.pt", {"model": TENSORS, "about": ABOUT}, {"step": 7, "accuracy": 0.5})
    write_checkpoint(folder / "last.pt", {"model": TENSORS, "progress": {"step": 9}}, {"step": 9})
    return sorted(folder.iterdir())


def unnoticed(files: list[Path], folder: Path, damage: Damage, count: int) -> list[str]:
    """Return what was read all the same from `count` damaged copies, one kind of file after the other."""
    found, chance = [], random.Random(f"{damage.__name__} {count}")
    for number in range(count):
        whole = files[number % len(files)]
        copy = folder / whole.name
        copy.write_bytes(damage(bytearray(whole.read_bytes()), chance))
        try:
            read_model_weights(copy)
        except UserError as error:
            assert str(error).startswith(f"{copy}") and "\n" not in str(error)
            assert "weights_only" not in str(error)
        else:
            found.append(f"{copy.name}, number {number}")
    return found


@pytest.mark.fault("C2", "C12")
@pytest.mark.parametrize("damage", [flipped, cut, holed])
def test_damage_anywhere_is_noticed(files: list[Path], tmp_path: Path, damage: Damage) -> None:
    assert unnoticed(files, tmp_path, damage, 60) == []


@pytest.mark.fault("C12")
def test_bits_of_a_header_of_safetensors_count(files: list[Path], tmp_path: Path) -> None:
    data = next(file for file in files if file.suffix == ".safetensors").read_bytes()
    copy = tmp_path / "flipped.safetensors"
    bits = 8 * (8 + int.from_bytes(data[:8], "little"))
    for bit in random.Random("header").sample(range(bits), 400):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        copy.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            read_weights(copy)


@pytest.mark.fault("C12")
def test_other_readers_need_not_know_of_the_digest(files: list[Path], tmp_path: Path) -> None:
    file = next(file for file in files if file.suffix == ".safetensors")
    plain = load_file(file)
    assert all(torch.equal(plain[name], tensor) for name, tensor in TENSORS.items())
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    assert {key: metadata[key] for key in ABOUT} == ABOUT
    again = tmp_path / "again.safetensors"
    save_file(plain, again, metadata)  # in another order, perhaps
    assert read_weights(again).keys() == TENSORS.keys()
    save_file({**plain, "layer.bias": plain["layer.bias"] + 1}, again, metadata)
    with pytest.raises(UserError, match="its SHA-256 does not match"):
        read_weights(again)


def test_weights_of_others_have_no_digest(tmp_path: Path) -> None:
    for metadata in (None, {"format": "pt", "sha256": "another's"}):
        save_file(TENSORS, tmp_path / "theirs.safetensors", metadata)
        assert read_weights(tmp_path / "theirs.safetensors").keys() == TENSORS.keys()


@pytest.mark.fault("C12")
def test_damaged_weights_are_refused_by_every_command(imclass, run) -> None:
    file = run / "best.safetensors"
    data = bytearray(file.read_bytes())
    data[-900:-388] = bytes(512)
    file.write_bytes(data)
    for argv in (
        ["evaluate", "run", "--weights", str(file)],
        ["train", *merged(QUICK, [f"model.weights={file}"])],
    ):
        outcome = imclass(*argv)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert f"{file} is damaged (its SHA-256 does not match)" in outcome.err


@pytest.mark.parametrize("command", ["evaluate", "predict", "train"])
def test_a_training_in_the_place_of_the_best_model_is_one_line(
    imclass, run, tmp_path: Path, command: str
) -> None:
    shutil.copy(run / "checkpoints/last.pt", run / "checkpoints/best.pt")
    (run / "report.html").unlink()  # made again, from best.pt
    summary = (run / "summary.json").read_bytes()
    argv = {
        "evaluate": ["run"],
        "predict": ["run", str(run / "plots/samples.png")],
        "train": ["name=run", *QUICK],
    }
    outcome = imclass(command, *argv[command])
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "best.pt is damaged (it is another file: a training to resume, not a model)" in outcome.err
    assert (run / "summary.json").read_bytes() == summary


@pytest.mark.fault("S11")
@pytest.mark.parametrize("kind", ["FIFO", "folder"])
def test_what_is_no_file_is_not_opened(imclass, run, kind: str) -> None:
    make = os.mkfifo if kind == "FIFO" else os.mkdir
    for file in ("best.safetensors", "checkpoints/best.pt", "checkpoints/last.pt"):
        (run / file).unlink()
        make(run / file)
    for argv in (
        ["evaluate", "run"],
        ["evaluate", "run", "--weights", "last"],
        ["train", *merged(QUICK, [f"model.weights={run}/best.safetensors"])],
        ["train", *merged(QUICK, [f"model.weights={run}/checkpoints/best.pt"])],
        ["train", "name=run", *merged(QUICK, ["train.epochs=3"])],
    ):
        outcome = imclass(*argv)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
        assert f"a {kind}" in outcome.err or "no such file" in outcome.err


def test_a_checkpoint_that_may_not_be_read_is_named_and_stays(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not put aside as a damaged one is: it may be the best there is."""
    shutil.copy(files[2], tmp_path / "last.pt")
    shutil.copy(files[2], tmp_path / "previous.pt")

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("imclass.runs.weights.open_regular", refuse)
    with pytest.raises(UserError, match=r"last\.pt: cannot be read \(Permission denied\)"):
        newest_checkpoint(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "previous.pt"]


@pytest.mark.fault("S1")
def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """torch unpacks compressed entries, although it never writes one."""
    torch.save({"model": {"weight": torch.zeros(10_000_000)}}, tmp_path / "whole.pt")
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(bomb, "w") as small:
        for entry in whole.infolist():
            small.writestr(entry.filename, whole.read(entry), zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 100_000
    with pytest.raises(UserError, match="refused: 40,000,"):
        read_weights(bomb)


def test_half_precision_weights_of_others_are_a_start(run, train) -> None:
    save_file(
        {k: v.half() for k, v in read_weights(run / "best.safetensors").items()}, run / "half.safetensors"
    )
    train("second", f"model.weights={run}/half.safetensors")
