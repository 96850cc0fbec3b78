"""The ranks as torchrun, or another launcher, sets them in the environment. No torch here."""

import contextlib
import os
import re
import socket
import time
from typing import NamedTuple

from imclass.endings import say
from imclass.errors import UserError

REACH_SECONDS = 60.0  # until the name of rank 0's machine is known, and torchrun's own server answers
START_SECONDS = 1800.0  # until the slowest rank has started and prepared its data
RETRY_SECONDS = 0.2


class Rank(NamedTuple):
    """Where this process stands among those of its job, and of its machine."""

    rank: int
    size: int
    local_rank: int
    local_size: int


def launched_as() -> Rank | None:
    """Return the rank that a launcher gave this process, None without one.

    Raises UserError for a variable that is no such number, and for an address that is none.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return None
    size = _number("WORLD_SIZE", 1, None)
    rank = _number("RANK", 0, size - 1)
    local_size = _number("LOCAL_WORLD_SIZE", 1, size) if "LOCAL_WORLD_SIZE" in os.environ else size
    # Not set: all ranks are on one machine.
    local_rank = _number("LOCAL_RANK", 0, local_size - 1) if "LOCAL_RANK" in os.environ else rank
    if not os.environ.get("MASTER_ADDR"):
        raise _problem("MASTER_ADDR", "the address of rank 0's machine")
    _number("MASTER_PORT", 0, 65535)
    return Rank(rank, size, local_rank, local_size)


def require_reachable(place: Rank) -> None:
    """Return once the address of rank 0 resolves and takes connections; rank 0 may yet have to listen there.

    Torch itself retries a name that does not resolve as long as it waits for slow ranks. Raises UserError
    with the system's reason after REACH_SECONDS; after START_SECONDS where rank 0 itself has to listen.
    Rank 0 warns of an address of another machine, which is right where ports are forwarded.
    """
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # torchrun's own server: there already
    listens, start = place.rank == 0 and not agent, time.monotonic()
    while True:
        try:
            if listens:
                if not _is_here(host, port):
                    minutes = round(START_SECONDS / 60)
                    say(
                        f"MASTER_ADDR={host!r}: no address of this machine, which runs rank 0; waiting "
                        f"{minutes} minutes at most, in case port {port} there is forwarded to this machine"
                    )
            else:
                socket.create_connection((host, port), timeout=REACH_SECONDS / 2).close()
            return
        except (OSError, UnicodeError) as error:  # UnicodeError: no name of a machine can be that
            unknown = isinstance(error, socket.gaierror | UnicodeError)
            if time.monotonic() - start >= (REACH_SECONDS if unknown or agent else START_SECONDS):
                reason = getattr(error, "strerror", None) or error
                where = f"where rank 0 listens at MASTER_PORT={port} ({reason})"
                raise _problem("MASTER_ADDR", where) from error
            time.sleep(RETRY_SECONDS)


def _is_here(host: str, port: int) -> bool:
    """Return whether an address is one of this machine's."""
    for family, kind, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        with socket.socket(family, kind) as probe, contextlib.suppress(OSError):
            probe.bind((address[0], 0))
            return True
    return False


def _number(name: str, lowest: int, highest: int | None) -> int:
    text = os.environ.get(name, "")
    expected = f"a whole number of at least {lowest}" + ("" if highest is None else f" and at most {highest}")
    if not re.fullmatch("[0-9]{1,9}", text):
        raise _problem(name, expected)
    if int(text) < lowest or (highest is not None and int(text) > highest):
        raise _problem(name, expected)
    return int(text)


def _problem(name: str, expected: str) -> UserError:
    value = f"={os.environ[name]!r}" if name in os.environ else " is not set"
    return UserError(
        f"{name}{value}: expected {expected}, as torchrun sets it; "
        "to train in one process, unset RANK and WORLD_SIZE"
    )
