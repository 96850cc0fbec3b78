"""The device, its precision and its threads as values; what `auto` chose is said with the reason."""

import pytest
import torch
from torch import nn

from imclass.config.schema import DeviceConfig
from imclass.errors import UserError
from imclass.machine.device import COMPILE_STEPS, resolve_device


@pytest.fixture(autouse=True)
def _keep_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("amx", "avx512", "expected"), [(True, True, "bf16"), (False, True, "bf16"), (False, False, "fp32")]
)
def test_bf16_only_where_the_cpu_has_units_for_it(
    monkeypatch, amx: bool, avx512: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    device = resolve_device(DeviceConfig(type="cpu"), steps=1)
    assert device.precision == expected
    assert any(f"precision: {expected}" in reason for reason in device.reasons)


def test_slow_bf16_is_done_as_asked_and_said(monkeypatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    device = resolve_device(DeviceConfig(type="cpu", precision="bf16"), steps=1)
    assert device.precision == "bf16"
    assert any("slow" in reason for reason in device.reasons)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_computes_in_the_precision(precision: str, dtype: torch.dtype) -> None:
    device = resolve_device(DeviceConfig(type="cpu", precision=precision), steps=1)
    with device.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    assert not device.grad_scaler().is_enabled()


def test_threads_as_asked_as_before_or_as_the_machine_has() -> None:
    assert resolve_device(DeviceConfig(type="cpu", threads=2), steps=1).threads == 2
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert resolve_device(DeviceConfig(type="cpu"), steps=1, threads=2).threads == 2
    torch.set_num_threads(1)
    assert resolve_device(DeviceConfig(type="cpu"), steps=1).threads == 1


def test_auto_without_a_gpu_is_the_cpu_not_compiled(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    device = resolve_device(DeviceConfig(), steps=COMPILE_STEPS)
    assert device.device.type == "cpu"
    assert device.compile is False
    assert device.memory_format == torch.channels_last
    assert "device: cpu, no GPU found" in device.reasons


def test_auto_with_a_gpu_takes_it_and_compiles_long_trainings(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    short, long = (resolve_device(DeviceConfig(), steps=n) for n in (COMPILE_STEPS - 1, COMPILE_STEPS))
    assert (short.device.type, short.precision) == ("cuda", "bf16")
    assert (short.compile, long.compile) == (False, True)


def test_cuda_graphs_need_a_gpu_and_are_a_mode_of_compilation(monkeypatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, mode: asked.append(mode))
    with pytest.raises(UserError, match=r"device\.compile=cuda_graphs: needs a CUDA GPU, not cpu"):
        resolve_device(DeviceConfig(type="cpu", compile="cuda_graphs"), steps=1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    for wanted in (False, True, "cuda_graphs"):
        resolve_device(DeviceConfig(compile=wanted), steps=1).compile_if_wanted(nn.Linear(1, 1))
    assert asked == ["default", "reduce-overhead"]


def test_fp16_scales_its_gradients_on_a_gpu(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    device = resolve_device(DeviceConfig(type="cuda", precision="fp16"), steps=1)
    assert device.precision == "fp16"


@pytest.mark.parametrize("wanted", ["cuda", "cuda:7"])
def test_a_gpu_that_is_not_there(monkeypatch, wanted: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match=f"device.type={wanted}.*device=cpu"):
        resolve_device(DeviceConfig(type=wanted), steps=1)


def test_mps_that_is_not_there(monkeypatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"device\.type=mps.*device=cpu"):
        resolve_device(DeviceConfig(type="mps"), steps=1)


def test_hardware_and_memory_are_named() -> None:
    device = resolve_device(DeviceConfig(type="cpu"), steps=1)
    assert device.hardware.endswith(f"({torch.backends.cpu.get_cpu_capability()})")
    assert device.peak_memory_bytes() > 50e6


@pytest.mark.parametrize("compiled", [True, False])
def test_a_resumed_run_compiles_as_before_whatever_its_length_is_now(monkeypatch, compiled: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    for steps in (1, COMPILE_STEPS):
        assert resolve_device(DeviceConfig(), steps=steps, compiled=compiled).compile is compiled
    asked = DeviceConfig(compile=not compiled)
    assert resolve_device(asked, steps=1, compiled=compiled).compile is not compiled
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device(DeviceConfig(type="cpu"), steps=1, compiled=compiled).compile is False
