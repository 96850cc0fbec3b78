"""What torchrun, or another launcher, says of this process in its environment. No torch here."""

import os
import re
from typing import NamedTuple

from imclass.errors import UserError


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
