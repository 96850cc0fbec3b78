"""How freed CPU memory is handled: kept for the next step, instead of given back and asked for again.

A training step allocates and frees the same activations each time. glibc maps large blocks anew for each of
them, so that the kernel zeroes every page in every step.
"""

import contextlib
import ctypes
from typing import Any

# Parameters of mallopt(3), from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGEST_INT = 2**31 - 1
# Bytes: what is larger, as a data set is, goes back to the system when it is freed. An old glibc takes
# no more than the second.
KEPT_BELOW = 1 << 30, 32 << 20
GROWN_BY = 64 << 20  # bytes that the heap grows by at least


def keep_freed_memory() -> str | None:
    """Keep the memory of freed tensors in the process; return None, or why it cannot be done.

    No effect on results. Tensors that exist already go back to the system when they are freed.
    """
    # TypeError: Windows has no library of that name; AttributeError: musl and macOS have no such function.
    with contextlib.suppress(OSError, TypeError, AttributeError):
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018
        return None if _set_up(library) else "this glibc refuses it"
    return "no glibc"


def _set_up(library: Any) -> bool:
    below = any(library.mallopt(_MMAP_THRESHOLD, size) for size in KEPT_BELOW)
    return below and library.mallopt(_TRIM_THRESHOLD, _LARGEST_INT) and library.mallopt(_TOP_PAD, GROWN_BY)
