"""Read TensorBoard's event files back: the scalars in them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from imclass.runs.tensorboard import EVENTS, whole_part


class Scalar(NamedTuple):
    """One point of a curve."""

    tag: str
    step: int
    value: float  # float32


def event_files(run: Path) -> list[Path]:
    """Return the event files of a run folder."""
    files = (run / "tensorboard").glob(f"{EVENTS}*")
    return sorted(file for file in files if file.is_file())


def scalars_in(data: bytes) -> Iterator[Scalar]:
    """Yield the scalars in an event file, up to its first record that is not whole."""
    from tensorboard.compat.proto.event_pb2 import Event

    position, end = 0, whole_part(data)
    while position < end:
        length = int.from_bytes(data[position : position + 8], "little")
        event = Event.FromString(data[position + 12 : position + 12 + length])
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                yield Scalar(value.tag, event.step, value.simple_value)
        position += 12 + length + 4
