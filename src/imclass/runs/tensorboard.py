"""The event files for TensorBoard."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imclass.runs.atomic import sync


class TensorBoard:
    """The event files in `tensorboard/`. Without `enabled` nothing is written."""

    def __init__(self, folder: Path, *, enabled: bool):
        self.folder = folder
        self._writer: Any = None
        if enabled:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        if self._writer:
            for tag, value in values.items():
                self._writer.add_scalar(tag, value, step)

    def text(self, tag: str, text: str) -> None:
        if self._writer:
            self._writer.add_text(tag, text, 0)

    def plots(self, files: Iterable[Path], step: int) -> None:
        """Show PNG files under `plots/<their name>`."""
        if self._writer:
            for file in files:
                with Image.open(file) as image:
                    pixels = np.asarray(image.convert("RGB"))
                self._writer.add_image(f"plots/{file.stem}", pixels, step, dataformats="HWC")

    def hparams(self, settings: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Write the one row of the hparams table: settings with the figures that they led to."""
        if self._writer:
            from torch.utils.tensorboard.summary import hparams

            values = {
                k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in settings.items()
            }
            for summary in hparams(values, dict(metrics)):
                self._writer.file_writer.add_summary(summary)
            for tag, value in metrics.items():
                self._writer.add_scalar(tag, value)

    def sizes(self) -> dict[str, int]:
        """Return the byte sizes of the event files, all of their contents on the disk."""
        if self._writer:
            self._writer.flush()
        files = sorted(self.folder.glob("events.out.tfevents.*"))
        for file in files:
            sync(file)
        return {file.name: file.stat().st_size for file in files}

    def close(self) -> None:
        if self._writer:
            self._writer.close()


def cut_back(folder: Path, sizes: Mapping[str, int]) -> None:
    """Remove from the event files what was written after the checkpoint that recorded their sizes."""
    for path in folder.glob("events.out.tfevents.*"):
        if path.name not in sizes:
            path.unlink()
        elif path.stat().st_size > sizes[path.name]:
            with path.open("ab") as file:
                file.truncate(sizes[path.name])


def whole_part(data: bytes) -> int:
    """Return how many bytes of `data`, the beginning of an event file, are whole records.

    A record is its length (uint64), the length's CRC (uint32), the event, its CRC; little-endian.
    """
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    position = 0
    while position + 16 <= len(data):
        head = data[position : position + 8]
        length = int.from_bytes(head, "little")
        end = position + 12 + length + 4
        event, crcs = data[position + 12 : end - 4], (data[position + 8 : position + 12], data[end - 4 : end])
        if end > len(data) or crcs != tuple(masked_crc32c(x).to_bytes(4, "little") for x in (head, event)):
            break
        position = end
    return position
