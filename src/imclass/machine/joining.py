"""How the ranks of one job find each other, and how they part: together, or with a failure to report."""

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import timedelta

import torch
import torch.distributed as dist

from imclass.errors import (
    ImclassError,
    Interrupted,
    LostPeer,
    ReportedElsewhere,
    UserError,
    first_line,
)
from imclass.machine.launcher import START_SECONDS, launched_as, require_reachable
from imclass.machine.processes import ALONE, Group, Processes
from imclass.machine.signals import STOP

TOGETHER_SECONDS = 5  # how far apart ranks may be that make the same mistake

# What gloo, nccl and their sockets raise when the peer is gone.
_LOST = re.compile(
    "connection (closed by peer|reset|refused)|broken pipe|socket closed|pair closure|remote process exited"
    "|timed out waiting",
    re.IGNORECASE,
)


@contextlib.contextmanager
def joined_processes(device_type: str) -> Iterator[Processes]:
    """Within the block, the processes that torchrun started form one group; without torchrun, ALONE.

    device_type: `device.type` of the configuration. Raises UserError when the ranks do not find each other,
    LostPeer when one of them ends early.
    """
    place = launched_as()
    if place is None:
        yield ALONE
        return
    with STOP.also_in_long_calls():
        require_reachable(place)
        _join(place.size, on_gpus=device_type.startswith(("auto", "cuda")) and torch.cuda.is_available())
    group = Group(*place)
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
            f"another process of this job ended or cannot be reached ({last}); its message names the cause"
        ) from error


def _join(size: int, *, on_gpus: bool) -> None:
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpus else "gloo", timeout=timedelta(seconds=START_SECONDS)
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
