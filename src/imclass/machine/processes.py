"""The ranks that train one model together; a single process is the simplest case.

`torchrun` starts one process per rank. All ranks take the same steps on the same global batches, each on its
slice of every batch; the collectives for what must be shared (gradients, figures, decisions, the run folder)
are here. Control messages go over gloo, so that the host need not wait for a GPU.
"""

import contextlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from imclass.errors import ReportedElsewhere, UserError, code_of

T = TypeVar("T")


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
                failure, outcome[1] = error, code_of(error)
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
