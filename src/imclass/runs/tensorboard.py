"""The event files for TensorBoard."""

import io
import itertools
import os
import socket
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from imclass.runs.atomic import sync
from imclass.runs.log_file import LogFile, Warn

EVENTS = "events.out.tfevents."
OURS = ".imclass"  # how the names end of what we write: others may write into the same folder
_COUNT = itertools.count()


class TensorBoard:
    """The event files in a run folder, one for each session. Without `enabled` nothing is written.

    Written here and not by torch's SummaryWriter, whose thread neither says what is on the disk nor survives
    a full one. unwritten: records that the last session could not write. recorded: names of the files that
    the checkpoint knows; imclass 0.1 gave them other names.
    """

    def __init__(
        self,
        folder: Path,
        warn: Warn,
        *,
        unwritten: Iterable[bytes] = (),
        recorded: Iterable[str] = (),
        enabled: bool,
    ):
        self.folder, self._recorded = folder, frozenset(recorded)
        self._file: LogFile | None = None
        if enabled:
            place = f"{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_COUNT)}"
            first = _record(file_version="brain.Event:2")
            file = folder / f"{EVENTS}{place}{OURS}"
            self._file = LogFile(file, warn, size=0, unwritten=[first, *unwritten])

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        if self._file:
            from torch.utils.tensorboard.summary import scalar

            records = [_record(step=step, summary=scalar(tag, value)) for tag, value in values.items()]
            self._file.write(b"".join(records))

    def text(self, tag: str, text: str) -> None:
        if self._file:
            from torch.utils.tensorboard.summary import text as summary

            self._file.write(_record(summary=summary(tag, text)))

    def pictures(self, tag: str, files: Sequence[Path], step: int) -> None:
        """Show PNG files as one picture: each tag is a card of its own, of which a page should have few."""
        if self._file and files:
            from tensorboard.compat.proto.summary_pb2 import Summary

            size, png = _joined(files)
            image = Summary.Image(width=size[0], height=size[1], colorspace=3, encoded_image_string=png)
            self._file.write(_record(step=step, summary=Summary(value=[Summary.Value(tag=tag, image=image)])))

    def hparams(
        self, figures: Mapping[str, float], settings: Mapping[str, Any], curves: Sequence[str]
    ) -> None:
        """Write the row of the hparams table: what came out, the settings, and the last value of `curves`.

        Figures of the end are columns like the settings: as scalars they would be curves of a single point.
        """
        if self._file:
            from torch.utils.tensorboard.summary import hparams

            plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in settings.items()}
            parts = hparams({**figures, **plain}, dict.fromkeys(curves, 0.0))
            self._file.write(b"".join(_record(summary=part) for part in parts))

    @property
    def unwritten(self) -> list[bytes]:
        """The records that the disk has not taken yet, without the one that begins each file."""
        records = self._file.unwritten if self._file else []
        return records[1:] if self._file and not self._file.size else records

    def sync(self) -> dict[str, int]:
        """Flush the event files to the disk; return their sizes in bytes."""
        sizes = {file.name: file.stat().st_size for file in _files(self.folder, self._recorded)}
        return sizes | ({self._file.path.name: self._file.sync()} if self._file else {})

    def close(self) -> None:
        if self._file:
            self._file.close()


def _joined(files: Sequence[Path]) -> tuple[tuple[int, int], bytes]:
    """Return size and content of a PNG with all pictures, in a row or a column, whichever is squarer."""
    images = [Image.open(io.BytesIO(file.read_bytes())).convert("RGB") for file in files]
    widths, heights = [image.width for image in images], [image.height for image in images]
    in_a_row = max(sum(widths), max(heights)) < max(max(widths), sum(heights))
    size = (sum(widths), max(heights)) if in_a_row else (max(widths), sum(heights))
    sheet, left, top = Image.new("RGB", size, "white"), 0, 0
    for image in images:
        sheet.paste(image, (left, top))
        left, top = (left + image.width, 0) if in_a_row else (0, top + image.height)
    output = io.BytesIO()
    sheet.save(output, "png")
    return size, output.getvalue()


def cut_back(folder: Path, sizes: Mapping[str, int]) -> None:
    """Remove from the event files what was written after the checkpoint that recorded their sizes.

    A file that is damaged before that position is cut there: readers would stop at it in any case.
    """
    for file in _files(folder, sizes):
        if file.name not in sizes:
            file.unlink()
            continue
        data = file.read_bytes()
        whole = whole_part(data[: sizes[file.name]])
        if whole < len(data):
            os.truncate(file, whole)
        sync(file)


def whole_part(data: bytes) -> int:
    """Return how many bytes of `data`, the beginning of an event file, are whole records."""
    return max((end for _, end in events_in(data)), default=0)


def events_in(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the events in an event file, each with where its record ends, up to the first that is not whole.

    A record is its length (uint64), the length's CRC (uint32), the event, its CRC; little-endian.
    """
    position = 0
    while position + 16 <= len(data):
        head = data[position : position + 8]
        end = position + 12 + int.from_bytes(head, "little") + 4
        event, crcs = data[position + 12 : end - 4], (data[position + 8 : position + 12], data[end - 4 : end])
        if end > len(data) or crcs != (_crc(head), _crc(event)):
            return
        yield event, end
        position = end


def events_folder(run: Path) -> Path:
    """Return where the event files of a run lie: in its folder, by which TensorBoard names it.

    Earlier versions wrote into `tensorboard/` below it: such a run keeps them there, all together.
    """
    earlier = run / "tensorboard"
    return earlier if event_files(earlier) else run


def event_files(folder: Path) -> list[Path]:
    """Return the event files in a folder; no links, which may lead anywhere."""
    files = folder.glob(f"{EVENTS}*")
    return sorted(file for file in files if stat.S_ISREG(file.lstat().st_mode))


def _files(folder: Path, recorded: Collection[str]) -> list[Path]:
    """Return the event files that this run has written. recorded: names of such, whatever they end in."""
    return [file for file in event_files(folder) if file.name in recorded or file.name.endswith(OURS)]


def _record(**parts: Any) -> bytes:
    from tensorboard.compat.proto.event_pb2 import Event

    event = Event(wall_time=time.time(), **parts).SerializeToString()
    head = len(event).to_bytes(8, "little")
    return head + _crc(head) + event + _crc(event)


def _crc(data: bytes) -> bytes:
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    return masked_crc32c(data).to_bytes(4, "little")
