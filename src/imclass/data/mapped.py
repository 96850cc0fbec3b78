"""A memory-mapped file of images, which may be larger than the memory."""

import contextlib
import mmap

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class MappedFile:
    """A file whose pages are read when they are first used, and again where memory was short meanwhile.

    content: all of it, uint8 (bytes,), read-only.
    """

    def __init__(self, mapped: mmap.mmap):
        self._mapped = mapped
        self.content: NDArray[np.uint8] = np.frombuffer(mapped, np.uint8)

    def read_ahead(self, images: Tensor, rows: Tensor) -> None:
        """Have the kernel begin to read rows of a tensor that lies in this file, all at the same time.

        images: uint8 (N, C, H, W). rows: int64 (n,). Without it, each page that is not in memory is waited
        for in turn, and read with up to megabytes around it (`read_ahead_kb` of the disk).
        """
        start, size = images.data_ptr() - self.content.ctypes.data, images[0].nbytes
        with contextlib.suppress(OSError):  # it is only advice
            for row in rows.tolist():
                first = start + row * size
                page = first // mmap.PAGESIZE * mmap.PAGESIZE
                self._mapped.madvise(mmap.MADV_WILLNEED, page, first + size - page)
