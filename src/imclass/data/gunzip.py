"""Reads gzipped files from strangers: no more than was expected comes out."""

import io
import zlib
from typing import BinaryIO

CHUNK = 1 << 20  # bytes


class Gunzip(io.RawIOBase):
    """The contents of a gzipped file, as a stream.

    Reading beyond `limit` unpacked bytes raises OSError, a file that is cut short EOFError, one that is not
    gzip zlib.error. Only the first member counts. zlib reads the header too: Python's gzip takes a minute for
    one that is made to be long.
    """

    def __init__(self, file: BinaryIO, limit: int):
        self._file, self._left = file, limit
        self._gzip = zlib.decompressobj(wbits=31)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, less only at the end; all of them if it is negative."""
        parts: list[bytes] = []
        missing = size if size >= 0 else self._left + 1
        while missing and not self._gzip.eof:
            packed = self._gzip.unconsumed_tail or self._file.read(CHUNK)
            if not packed:
                raise EOFError("cut short")
            part = self._gzip.decompress(packed, min(missing, CHUNK))
            self._left -= len(part)
            missing -= len(part)
            if self._left < 0:
                raise OSError("unpacks to more than the original")
            parts.append(part)
        return b"".join(parts)
