"""Read TensorBoard's event files back: the scalars in them."""

from collections.abc import Iterator
from typing import NamedTuple

from imclass.runs.tensorboard import events_in


class Scalar(NamedTuple):
    """One point of a curve."""

    tag: str
    step: int
    value: float  # float32


def scalars_in(data: bytes) -> Iterator[Scalar]:
    """Yield the scalars in an event file, up to its first record that is not whole."""
    from tensorboard.compat.proto.event_pb2 import Event

    for record, _ in events_in(data):
        event = Event.FromString(record)
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                yield Scalar(value.tag, event.step, value.simple_value)
