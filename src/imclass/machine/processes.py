"""The ranks that train one model together; a single process is the simplest case.

`torchrun` starts one process per rank. All ranks take the same steps on the same global batches, each on its
slice of every batch; the collectives for what must be shared (gradients, figures, decisions, the run folder)
are here. Control messages go over gloo, so that the host need not wait for a GPU.
"""

import contextlib
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from imclass.errors import (
    EXIT_BUG,
    EXIT_STORAGE,
    ImclassError,
    Interrupted,
    LostPeer,
    ReportedElsewhere,
    UserError,
    first_line,
)

T = TypeVar("T")

MESSAGE_SECONDS = 1800  # collectives wait this long for the slowest rank to start and prepare its data
TOGETHER_SECONDS = 5  # how far apart ranks may be that make the same mistake

# What gloo, nccl and their sockets raise when the peer is gone.
_LOST = re.compile(
    "connection (closed by peer|reset|refused)|broken pipe|socket closed|pair closure|remote process exited"
    "|timed out waiting",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Processes:
    """This process's rank and its collectives; here the only rank, for which each method is the identity.

    All ranks must call the collectives in the same order.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # on this machine
    local_size: int = 1

    @property
    def is_first(self) -> bool:
        """True on rank 0, which writes the files and speaks to the user."""
        return self.rank == 0

    def slice_of(self, count: int) -> slice:
        """Return this rank's share of `count` images: equal shares, one more on the first ranks."""
        each, longer = divmod(count, self.size)
        start = self.rank * each + min(self.rank, longer)
        return slice(start, start + each + (self.rank < longer))

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of all ranks' tensors, as a new tensor."""
        return tensor.clone()

    def all_gather(self, tensor: Tensor) -> Tensor:
        """Return all ranks' tensors, stacked: (size, *shape)."""
        return tensor[None].clone()

    def all_reduce_max(self, *numbers: int) -> list[int]:
        """Return the maximum of each number over all ranks. Does not wait for a GPU."""
        return list(numbers)

    def average_(self, tensors: Sequence[Tensor], weight: float) -> None:
        """Replace float tensors by their weighted mean over all ranks, whose weights sum to 1."""

    def gather(self, own: T) -> list[T]:
        """Gather all values on rank 0 in rank order; other ranks get only their own."""
        return [own]

    def broadcast(self, make: Callable[[], T]) -> T:
        """Call `make` on rank 0 and return its value on every rank.

        Its exception is raised on rank 0; the other ranks raise ReportedElsewhere.
        """
        return make()

    def place(self, device: torch.device) -> torch.device:
        """Return this rank's device, where the user asked for `device`."""
        return device

    def parallel(self, model: nn.Module) -> nn.Module:
        """Return the module to call in forward: `model`, or its DDP wrapper, which averages the gradients."""
        return model

    def gradients(self, network: nn.Module, *, complete: bool) -> contextlib.AbstractContextManager:
        """Return the context of one micro-batch's forward and backward pass; the last one syncs gradients."""
        return contextlib.nullcontext()


ALONE = Processes()


class Group(Processes):
    """One of several ranks, joined in torch's default process group."""

    __slots__ = ()

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def all_gather(self, tensor: Tensor) -> Tensor:
        rows = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(rows, tensor.contiguous())
        return torch.stack(rows)

    def all_reduce_max(self, *numbers: int) -> list[int]:
        tensor = torch.tensor([int(number) for number in numbers])
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tensor.tolist()

    def average_(self, tensors: Sequence[Tensor], weight: float) -> None:
        if not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors]) * weight
        dist.all_reduce(flat)  # one message for all of them
        for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def gather(self, own: T) -> list[T]:
        parts: list[Any] | None = [None] * self.size if self.is_first else None
        dist.gather_object(own, parts)
        return [own] if parts is None else parts

    def broadcast(self, make: Callable[[], T]) -> T:
        outcome: list[Any] = [None, None]  # the value; or the exit code of the exception
        failure: Exception | None = None
        if self.is_first:
            try:
                outcome[0] = make()
            except Exception as error:
                failure, outcome[1] = error, _exit_code(error)
        dist.broadcast_object_list(outcome, device=torch.device("cpu"))
        if failure is not None:
            raise failure
        if outcome[1] is not None:
            raise ReportedElsewhere(outcome[1])
        return outcome[0]

    def place(self, device: torch.device) -> torch.device:
        if device.type == "mps":
            raise UserError(f"device.type=mps: trains in one process, not in {self.size}; use device=cpu")
        if device.type != "cuda":
            return device
        if device.index is not None and self.local_size > 1:
            raise UserError(
                f"device.type={device}: {self.local_size} processes need a GPU each; use device=cuda"
            )
        own = torch.device("cuda", self.local_rank if device.index is None else device.index)
        if own.index < torch.cuda.device_count():
            torch.cuda.set_device(own)
        return own

    def parallel(self, model: nn.Module) -> nn.Module:
        device = next(model.parameters()).device
        ids = [device] if device.type == "cuda" else None
        with warnings.catch_warnings():
            # Newer versions of torch rename broadcast_buffers; older ones know only this name.
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(
                model, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True
            )

    def gradients(self, network: nn.Module, *, complete: bool) -> contextlib.AbstractContextManager:
        assert isinstance(network, DistributedDataParallel)
        return contextlib.nullcontext() if complete else network.no_sync()


@contextlib.contextmanager
def joined_processes(device_type: str) -> Iterator[Processes]:
    """Within the block, the processes that torchrun started form one group; without torchrun, ALONE.

    device_type: `device.type` of the configuration. Raises UserError when the ranks do not find each other,
    LostPeer when one of them ends early.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield ALONE
        return
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local_rank = int(os.environ.get("LOCAL_RANK", rank))  # not set: all ranks on one machine
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    _join(size, on_gpus=device_type.startswith(("auto", "cuda")) and torch.cuda.is_available())
    group = Group(rank, size, local_rank, local_size)
    try:
        with lost_peers_named():
            yield group
    except (ImclassError, Interrupted) as error:
        if error.on_every_rank:
            _leave(group)
        elif not error.on_one_rank:
            error.on_one_rank = not _failed_together(group)
            if group.rank and not error.on_one_rank:
                raise ReportedElsewhere(error.exit_code) from error
        raise  # connections stay open otherwise: closing them would end peers before the cause is reported
    else:
        _leave(group)


@contextlib.contextmanager
def lost_peers_named() -> Iterator[None]:
    """Within the block, a network error caused by the end of a peer is raised as LostPeer."""
    try:
        yield
    except RuntimeError as error:
        text = str(error).strip()
        # nccl raises one type for lost peers and for its own lack of memory or devices.
        unreachable = isinstance(error, dist.DistError) and not isinstance(error, dist.DistBackendError)
        if not unreachable and not _LOST.search(text):
            raise
        last = "".join(text.splitlines()[-1:])
        raise LostPeer(
            f"another process of this job ended or cannot be reached ({last}); its own message says why"
        ) from error


def _join(size: int, *, on_gpus: bool) -> None:
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpus else "gloo", timeout=timedelta(seconds=MESSAGE_SECONDS)
        )
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ.get('MASTER_ADDR', '(no MASTER_ADDR)')}:{os.environ.get('MASTER_PORT', '')}"
        reason = first_line(error)
        raise UserError(f"{size} processes did not find each other at {where} ({reason})") from error


def _failed_together(group: Processes) -> bool:
    """Return whether every rank fails within a few seconds; then it is one mistake, which rank 0 reports."""
    store = dist.distributed_c10d._get_default_store()
    try:
        _wait_for_all(store, "failed", group)
        if group.is_first:  # it may hold the store, which the others still read
            _wait_for_all(store, "seen", group)
        else:
            store.set(f"seen/{group.rank}", "")
    except RuntimeError:  # another rank is still at work, or the rank that holds the store is gone
        return False
    return True


def _wait_for_all(store: dist.Store, word: str, group: Processes) -> None:
    store.set(f"{word}/{group.rank}", "")
    store.wait([f"{word}/{rank}" for rank in range(group.size)], timedelta(seconds=TOGETHER_SECONDS))


def _leave(group: Processes) -> None:
    """Leave together: torchrun ends all ranks when one is gone, and rank 0 may still be writing."""
    group.all_reduce_max(0)
    dist.destroy_process_group()


def _exit_code(error: Exception) -> int:
    if isinstance(error, ImclassError):
        return error.exit_code
    return EXIT_STORAGE if isinstance(error, OSError) else EXIT_BUG
