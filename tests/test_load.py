"""How many cores a training takes: what its container allows, and what other programs leave."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from imclass.config.schema import DeviceConfig
from imclass.machine import load
from imclass.machine.device import resolve_device
from imclass.machine.load import cpu_quota, idle_cores, usable_cores

Stat = Callable[..., None]


@pytest.fixture
def stat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stat:
    """Let /proc/stat have one content after the other: (user, idle) in ticks, of cores 0 and 1."""
    file = tmp_path / "stat"
    monkeypatch.setattr(load, "_STAT", file)
    monkeypatch.setattr(load, "_own_cores", lambda: {0, 1})

    def contents(*moments: tuple[tuple[int, int], tuple[int, int]]) -> None:
        later = iter(moments)

        def show(seconds: float = 0) -> None:
            ticks = enumerate(next(later))
            rows = [f"cpu{core} {user} 0 0 {idle} 0 0 0 0 0 0" for core, (user, idle) in ticks]
            file.write_text("\n".join(["cpu 1 2 3 4", *rows, "intr 7", ""]))

        show()
        monkeypatch.setattr("time.sleep", show)

    return contents


def test_idle_cores_at_a_glance(stat: Stat) -> None:
    stat(((5, 10), (5, 10)), ((5, 35), (10, 30)))
    assert idle_cores() == pytest.approx(1.8)


def test_busy_cores_get_a_second_look(stat: Stat, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.4, 1.9])
    monkeypatch.setattr(load, "_idle_within", lambda cores, seconds: next(moments))
    monkeypatch.setattr(load, "_own_cores", lambda: {0, 1})
    assert idle_cores() == 1.9


def test_no_counters_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_STAT", tmp_path / "none")
    assert idle_cores() is None


@pytest.mark.parametrize(
    ("limits", "quota"),
    [
        ({}, math.inf),
        ({"job/a": "max 100000"}, math.inf),
        ({"job/a": "150000 100000"}, 1.5),
        ({"job/a": "max 100000", "job": "300000 100000"}, 3.0),
        ({"job/a": "nonsense"}, math.inf),
    ],
)
def test_the_quota_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, str], quota: float
) -> None:
    (tmp_path / "own").write_text("1:cpuset:/x\n0::/job/a\n")
    for folder, text in limits.items():
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "cpu.max").write_text(text + "\n")
    monkeypatch.setattr(load, "_GROUPS", tmp_path)
    monkeypatch.setattr(load, "_OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(load, "_own_cores", lambda: set(range(64)))
    assert cpu_quota() == quota
    assert usable_cores() == (64 if math.isinf(quota) else math.ceil(quota))


@pytest.mark.parametrize(
    ("idle", "threads", "reason"),
    [
        (4.0, 4, "threads: 4, the cores of this process"),
        (None, 4, "threads: 4, the cores of this process"),
        (2.4, 2, "threads: 2, as 1.6 of 4 cores are busy with other programs; device.threads=4 takes them"),
        (0.1, 1, "threads: 1, as 3.9 of 4 cores are busy with other programs"),
    ],
)
def test_auto_takes_the_cores_that_are_idle(
    monkeypatch: pytest.MonkeyPatch, idle: float | None, threads: int, reason: str
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("imclass.machine.device.usable_cores", lambda: 4)
    monkeypatch.setattr("imclass.machine.device.idle_cores", lambda: idle)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    device = resolve_device(DeviceConfig(type="cpu"), steps=1)
    assert device.threads == threads
    assert any(text.startswith(reason) for text in device.reasons), device.reasons


def test_a_resumed_run_and_whoever_says_a_number_look_at_no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> float:
        raise AssertionError

    monkeypatch.setattr("imclass.machine.device.idle_cores", fail)
    monkeypatch.setattr("imclass.machine.device.usable_cores", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert resolve_device(DeviceConfig(type="cpu"), steps=1, threads=3).threads == 3
    assert resolve_device(DeviceConfig(type="cpu", threads=2), steps=1).threads == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert resolve_device(DeviceConfig(type="cpu"), steps=1).threads == 4


def test_this_machine_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "GLANCE", 0.02)
    monkeypatch.setattr(load, "LOOK", 0.02)
    idle = idle_cores()
    assert idle is None or 0 <= idle <= len(os.sched_getaffinity(0))
