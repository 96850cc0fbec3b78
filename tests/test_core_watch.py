"""A training whose threads wait for cores says so, once."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from imclass.machine import core_watch
from imclass.machine.core_watch import CoreWatch, seconds_waited


class Clock:
    """The time, and how long the threads of this process have waited by then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now, self.waited = 0.0, {"main": 100.0}
        monkeypatch.setattr(core_watch.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(core_watch, "seconds_waited", lambda: self.waited)

    def pass_by(self, seconds: float, **waited: float) -> None:
        self.now += seconds
        self.waited = {
            name: self.waited.get(name, 0) + waited.get(name, 0) for name in (*self.waited, *waited)
        }


def watch(threads: int, kind: str = "cpu") -> CoreWatch:
    device: Any = SimpleNamespace(threads=threads, device=torch.device(kind))
    return CoreWatch(device)


def test_one_line_where_a_thread_waits_a_quarter_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lines = Clock(monkeypatch), list[str]()
    cores = watch(threads=2)
    clock.pass_by(9, main=1, other=4)
    cores.check(lines.append)
    assert lines == []  # too early to tell
    clock.pass_by(1, other=1)
    cores.check(lines.append)
    cores.check(lines.append)
    clock.pass_by(20, main=20)
    cores.check(lines.append)
    expected = "other programs keep the cores busy: steps wait for them 50% of the time"
    assert lines == [f"{expected}; device.threads=1 may be faster"]


def test_no_line_where_threads_get_their_cores_and_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lines = Clock(monkeypatch), list[str]()
    undisturbed, on_gpu = watch(threads=2), watch(1, "cuda")
    clock.pass_by(10, main=0.5)
    undisturbed.check(lines.append)
    clock.pass_by(10, main=10)
    on_gpu.check(lines.append)
    assert lines == []


def test_one_thread_has_no_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lines = Clock(monkeypatch), list[str]()
    cores = watch(threads=1)
    clock.pass_by(10, main=5)
    cores.check(lines.append)
    assert lines == ["other programs keep the cores busy: steps wait for them 50% of the time"]


def test_the_kernel_counts(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(seconds >= 0 for seconds in seconds_waited().values())
    for task, text in {"1": "7 1500000000 3", "2": "7 500000000 3", "3": ""}.items():
        (tmp_path / task).mkdir()
        (tmp_path / task / "schedstat").write_text(text)
    monkeypatch.setattr(core_watch, "TASKS", tmp_path)
    assert seconds_waited() == {"1": 1.5, "2": 0.5}
