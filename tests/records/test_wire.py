"""Records as bytes, and their framing."""

import dataclasses
import hashlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from records import schema, wire

ROOT = Path(__file__).parents[2]
IMAGE = schema.CaptionedImage(
    image_id=2**62,
    file_name="ünï.jpg",
    captions=("A dog 🐕\n", "two"),
    caption_ids=((1, 4, 3, 2), (1, 2)),
    encoded=b"\xff\xd8\xff\xd9",
)


def test_a_record_there_and_back():
    assert vars(wire.from_bytes(wire.to_bytes(IMAGE))) == vars(IMAGE)
    grid = np.arange(24, dtype=np.float16).reshape(2, 3, 4)
    image = schema.CaptionedImage(7, "a.jpg", (), (), None, grid)
    again = wire.from_bytes(wire.to_bytes(image))
    assert again.encoded is None and again.captions == ()
    np.testing.assert_array_equal(again.features, grid)


def test_the_same_record_is_the_same_bytes_in_every_process():
    """Maps have a random order in each process unless serialising is told otherwise."""
    code = (
        "import hashlib, sys\n"
        "from records import wire\n"
        "image = wire.from_bytes(sys.stdin.buffer.read())\n"
        "print(hashlib.sha256(wire.to_bytes(image)).hexdigest())"
    )
    record = wire.to_bytes(IMAGE)
    command = [sys.executable, "-c", code]
    digests = [
        subprocess.run(command, cwd=ROOT, input=record, capture_output=True, check=True).stdout
        for _ in range(2)
    ]
    expected = hashlib.sha256(record).hexdigest()
    assert [digest.decode().strip() for digest in digests] == [expected, expected]


@pytest.mark.parametrize("record", [b"\xff\xff", b"", wire.to_bytes(IMAGE)[:-1]])
def test_bytes_that_are_no_record(record):
    with pytest.raises(wire.CorruptRecordError):
        wire.from_bytes(record)


def test_framing_is_tensorflows_and_sees_every_flipped_byte():
    framed = [b"".join(wire.frame(record)) for record in (b"one", b"", b"three" * 9)]
    content = b"".join(framed)
    assert list(wire.read_frames(io.BytesIO(content))) == [b"one", b"", b"three" * 9]
    # What tf.io.TFRecordWriter wrote for b"one".
    assert framed[0].hex() == "0300000000000000b099490e6f6e6501405508"
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        with pytest.raises(wire.CorruptRecordError, match=r"record \d at byte \d+: "):
            list(wire.read_frames(io.BytesIO(damaged)))
    for end in range(1, len(content)):
        if end not in (len(framed[0]), len(framed[0] + framed[1])):
            with pytest.raises(wire.CorruptRecordError, match="the file ends inside"):
                list(wire.read_frames(io.BytesIO(content[:end])))


def test_an_upright_image_says_nothing_of_its_orientation():
    turned = dataclasses.replace(IMAGE, orientation=6)
    assert schema.ORIENTATION.encode() not in wire.to_bytes(IMAGE)
    assert wire.from_bytes(wire.to_bytes(turned)).orientation == 6
    assert wire.from_bytes(wire.to_bytes(IMAGE)).orientation == 1
    with pytest.raises(wire.CorruptRecordError, match=r"orientation is \[9\], expected 1 to 8"):
        wire.from_bytes(wire.to_bytes(dataclasses.replace(IMAGE, orientation=9)))
