"""Device, precision, memory format, compilation and threads."""

import contextlib
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from imclass.config.schema import DeviceConfig
from imclass.errors import UserError
from imclass.machine.allocator import keep_freed_memory
from imclass.machine.load import idle_cores, usable_cores
from imclass.machine.processes import ALONE, Processes

# device.compile=auto compiles for runs of at least this many steps on CUDA; shorter ones do not repay it.
COMPILE_STEPS = 5_000

Compile = bool | Literal["cuda_graphs"]


@dataclass(frozen=True, slots=True)
class Device:
    """A resolved `DeviceConfig`; `reasons` explain each `auto`.

    processes: the ranks that train this model, each on its own device.
    """

    device: torch.device
    precision: str  # fp32, bf16, fp16
    memory_format: torch.memory_format
    compile: Compile
    threads: int
    micro_batch: int | None  # images per forward pass; None: the whole batch unless memory runs out
    reasons: tuple[str, ...]
    processes: Processes = ALONE

    def autocast(self) -> contextlib.AbstractContextManager:
        """Return the autocast context of forward passes."""
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def compile_if_wanted(self, module: nn.Module) -> None:
        """Compile a module in place, as `compile` says."""
        if self.compile:
            module.compile(mode="reduce-overhead" if self.compile == "cuda_graphs" else "default")

    def grad_scaler(self) -> torch.amp.GradScaler:
        """Return a gradient scaler, disabled unless the precision is fp16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def is_out_of_memory(self, error: Exception) -> bool:
        """Return whether `error` means that the device or the process is out of memory."""
        kinds = (torch.OutOfMemoryError, MemoryError)
        return isinstance(error, kinds) or "can't allocate memory" in str(error)

    def peak_memory_bytes(self) -> int:
        """Return the peak memory of the GPU, or of the process on a CPU."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        import resource
        import sys

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    def fits(self, size: int) -> bool:
        """Return whether `size` bytes of data fit in device memory beside the training."""
        if self.device.type != "cuda":
            return self.device.type == "cpu"
        free, _ = torch.cuda.mem_get_info(self.device)
        return size < 0.4 * free

    @property
    def hardware(self) -> str:
        """The GPU's name, or the CPU's with the instruction set torch uses."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        file = Path("/proc/cpuinfo")
        named = re.search(r"model name\s*: (.*)", file.read_text()) if file.exists() else None
        return f"{named[1] if named else platform.machine()} ({torch.backends.cpu.get_cpu_capability()})"


def copy_to(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor on `device`, copied if it is elsewhere; from the CPU to CUDA without synchronising."""
    if tensor.device.type == "cpu" and device.type == "cuda":  # from pageable memory it would synchronise
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)  # MPS could read the source of an unfinished copy after it was freed


def resolve_device(
    config: DeviceConfig,
    *,
    steps: int,
    threads: int | None = None,
    compiled: Compile | None = None,
    processes: Processes = ALONE,
) -> Device:
    """Resolve the device and every `auto`, and set the allocator and torch's number of threads.

    steps: length of the run, decides `compile: auto`. threads, compiled: of the run to resume, kept under
    `auto` because other threads, and compiled kernels, round differently.
    Raises UserError if the device is missing or does not support a setting.
    """
    reasons: list[str] = []
    device = _choose_device(config.type, processes, reasons)
    if config.sync_batch_norm and device.type != "cuda":
        raise UserError(f"device.sync_batch_norm=true: torch has it for GPUs only, not for {device.type}")
    _choose_allocator(config.allocator, device, reasons)
    chosen_threads = _choose_threads(config.threads, threads, device, processes, reasons)
    torch.set_num_threads(chosen_threads)
    precision = _choose_precision(config.precision, device, reasons)
    if config.channels_last == "auto":
        reasons.append("channels_last: true, the fastest layout for convolutions")
    return Device(
        device=device,
        precision=precision,
        memory_format=torch.channels_last
        if config.channels_last in (True, "auto")
        else torch.contiguous_format,
        compile=_choose_compile(config.compile, compiled, device, steps, reasons),
        threads=chosen_threads,
        micro_batch=None if config.micro_batch == "auto" else config.micro_batch,
        reasons=tuple(reasons),
        processes=processes,
    )


def _choose_device(wanted: str, processes: Processes, reasons: list[str]) -> torch.device:
    chosen = wanted
    if wanted == "auto":
        available = torch.cuda.is_available(), torch.backends.mps.is_available() and processes.size == 1
        chosen = "cuda" if available[0] else "mps" if available[1] else "cpu"
        reasons.append(f"device: {chosen}, " + ("found" if any(available) else "no GPU found"))
    device = processes.place(torch.device(chosen))
    missing = device.type == "cuda" and not (device.index or 0) < torch.cuda.device_count()
    if missing and (wanted != "auto" or processes.size > 1):
        many, seen = processes.local_size > 1, torch.cuda.device_count()
        needed = f", and {processes.local_size} processes need one each" if many else ""
        other = f"--nproc-per-node={seen}" if many else "device=auto"
        raise UserError(
            f"device.type={wanted}: torch sees {seen} CUDA devices{needed}; use device=cpu or {other}"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("device.type=mps: this torch has no MPS device; use device=cpu or auto")
    return device


def _choose_allocator(wanted: str, device: torch.device, reasons: list[str]) -> None:
    if wanted == "keep" or (wanted == "auto" and device.type == "cpu"):
        refused = keep_freed_memory()
        kept = "keep, freed memory serves the next step"
        reasons.append("allocator: " + (f"system, {refused}" if refused else kept))


def _choose_threads(
    wanted: object, earlier: int | None, device: torch.device, processes: Processes, reasons: list[str]
) -> int:
    if isinstance(wanted, int):
        return wanted
    if earlier is not None:
        reasons.append(f"threads: {earlier}, as before the interruption")
        return earlier
    cores = usable_cores()
    if processes.local_size > 1:  # torchrun sets OMP_NUM_THREADS=1 whatever the machine has
        threads = max(1, cores // processes.local_size)
        reasons.append(f"threads: {threads}, the cores divided among {processes.local_size} processes")
        return threads
    threads = min(cores, torch.get_num_threads())
    if os.environ.get("OMP_NUM_THREADS"):
        reasons.append(f"threads: {threads}, as OMP_NUM_THREADS allows")
        return threads
    idle = idle_cores() if threads > 1 and device.type == "cpu" else None
    if idle is not None and (free := max(1, round(idle))) < threads:
        busy = f"{threads - idle:.1f} of {threads} cores are busy with other programs"
        reasons.append(f"threads: {free}, as {busy}; device.threads={threads} takes them all the same")
        return free
    reasons.append(f"threads: {threads}, the cores of this process")
    return threads


def _choose_compile(
    wanted: Compile | Literal["auto"],
    earlier: Compile | None,
    device: torch.device,
    steps: int,
    reasons: list[str],
) -> Compile:
    on_cuda = device.type == "cuda"
    if wanted == "cuda_graphs" and not on_cuda:
        raise UserError(f"device.compile=cuda_graphs: needs a CUDA GPU, not {device.type}; use auto or true")
    if wanted != "auto":
        return wanted
    chosen: Compile = on_cuda and (steps >= COMPILE_STEPS if earlier is None else earlier)
    why = f"{steps} steps on CUDA" if chosen else f"pays on CUDA from {COMPILE_STEPS} steps"
    if on_cuda and earlier is not None:
        why = "as before the interruption"
    reasons.append(f"compile: {str(chosen).lower()}, {why}")
    return chosen


def _choose_precision(wanted: str, device: torch.device, reasons: list[str]) -> str:
    if wanted == "fp16" and device.type == "cpu":
        raise UserError("device.precision=fp16: needs a GPU, and none was found; use bf16, fp32 or auto")
    fast = _has_bf16_units(device)
    if wanted == "auto":
        precision, why = ("bf16", "has") if fast else ("fp32", "has no")
        reasons.append(f"precision: {precision}, this {device.type} {why} bf16 units")
        return precision
    if wanted == "bf16" and not fast:
        reasons.append(f"precision: bf16 as asked, but slow: this {device.type} has no bf16 units")
    return wanted


def _has_bf16_units(device: torch.device) -> bool:
    """Return whether bf16 runs in hardware; emulated, it can be 100 times slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return False
