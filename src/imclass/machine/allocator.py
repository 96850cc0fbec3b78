"""How freed CPU memory is handled: kept for the next step, instead of given back and asked for again.

A training step allocates and frees the same activations each time. glibc maps large blocks anew for each of
them, so that the kernel zeroes every page in every step.
"""

import contextlib
import ctypes

# Parameters of mallopt(3), from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGEST_INT = 2**31 - 1
KEPT_BELOW = 1 << 30  # bytes; what is larger, as a data set is, goes back to the system when it is freed
GROWN_BY = 64 << 20  # bytes that the heap grows by at least


def keep_freed_memory() -> bool:
    """Keep the memory of freed tensors in the process; False where the C library is not glibc.

    No effect on results. Tensors that exist already go back to the system when they are freed.
    """
    with contextlib.suppress(
        OSError, TypeError, AttributeError
    ):  # no C library by that name; no such function
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - musl and macOS have no such function
        settings = {_MMAP_THRESHOLD: KEPT_BELOW, _TRIM_THRESHOLD: _LARGEST_INT, _TOP_PAD: GROWN_BY}
        return all(library.mallopt(key, value) for key, value in settings.items())
    return False
