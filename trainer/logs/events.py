"""TensorBoard's event files of a run, cut on resuming as metrics.jsonl is."""

import os
from collections.abc import Iterator

import tensorflow as tf

from cli import atomic_file
from records import wire
from trainer.position import Position

_PREFIX = "events.out.tfevents."


def cut(folder: str, position: Position) -> None:
    """Remove the events past the position that a run resumes from; the run writes them again.

    Args:
        folder: The folder of the event files; it may be missing.
        position: How far the run is.

    Raises:
        OSError: A file cannot be read or written.
    """
    atomic_file.sweep(folder)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    for name in sorted(name for name in names if name.startswith(_PREFIX)):
        path = os.path.join(folder, name)
        if sum(map(len, _kept(path, position))) == os.path.getsize(path):
            continue
        with atomic_file.create(path) as file:
            file.writelines(_kept(path, position))


def _kept(path: str, position: Position) -> Iterator[bytes]:
    """Yield the framed events of a file that stay, up to where a kill cut it."""
    with open(path, "rb") as file:
        try:
            for event in wire.read_frames(file):
                if _is_past(event, position):
                    yield from wire.frame(event)
        except wire.CorruptRecordError:
            return


def _is_past(serialized: bytes, position: Position) -> bool:
    """Return whether a run at this position has written the event for good."""
    event = tf.compat.v1.Event.FromString(serialized)
    validation = any(value.tag.startswith("val") for value in event.summary.value)
    return event.step <= (position.scored if validation else position.step)
