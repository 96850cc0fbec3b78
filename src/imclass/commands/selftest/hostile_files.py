"""Files as a stranger would make them: code in pickles, bombs, archives that write elsewhere."""

import io
import json
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

MEMBERS = "cifar-10-batches-py"


class Touch:
    """Unpickled, it creates a file."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def pickled_code(canary: Path) -> bytes:
    """Return a pickle that touches the canary."""
    return pickle.dumps(Touch(canary))


def code_in_a_checkpoint(file: Path, canary: Path) -> None:
    """Replace a checkpoint by one with code in it, header and digest right."""
    from imclass.runs.checkpoint import load_checkpoint
    from imclass.runs.checkpointer import Checkpointer

    header = load_checkpoint(file)[0]
    checkpointer = Checkpointer(file.parent / "stranger")
    checkpointer.save_last({"model": Touch(canary), "progress": {}}, header)
    checkpointer.last.replace(file)
    checkpointer.last.parent.rmdir()


def safetensors_of_code(file: Path, canary: Path) -> None:
    """Write a file whose header is longer than the file, with a pickle where tensors should be."""
    header = json.dumps({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + pickled_code(canary))


def bomb(file: Path) -> None:
    """Write a torch file whose one tensor says that it has 4 GB, compressed to 4 MB."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"x": 1}, protocol=2))
        archive.writestr("archive/version", "3\n")
        with archive.open("archive/data/0", "w", force_zip64=True) as member:
            for _ in range(1024):
                member.write(bytes(2**22))


def picture_bomb(file: Path) -> None:
    """Write a PNG of a hundred kilobytes that says it has 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(10**8)))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))


def archive_with(kind: str, file: Path, canary: Path) -> None:
    """Write an archive for CIFAR-10 with a member that leads to the canary, or a device."""
    batch = f"{MEMBERS}/data_batch_1"
    entry = tarfile.TarInfo({"dots": f"../../{canary.name}", "root": str(canary)}.get(kind, batch))
    data = pickled_code(canary)
    if kind == "link":
        entry.type, entry.linkname = tarfile.SYMTYPE, str(canary)
    elif kind == "device":
        entry.type = tarfile.CHRTYPE
    else:
        entry.size = len(data)
    with tarfile.open(file, "w:gz") as archive:
        archive.addfile(entry, io.BytesIO(data))
