"""Thousands of damaged files: an image or one clear error, the same from both engines."""

import collections
from pathlib import Path

import numpy as np
import tensorflow as tf

from model.decoding import decode
from pixels import standard
from pixels.formats import BadImageError
from pixels.square import square
from tests.support.image_kinds import all_kinds
from tests.support.mutations import mutated

SIDE = 32
MOST_GROWTH = 200e6  # bytes


def resident() -> int:
    """Return the bytes that the process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def seen_by_tensorflow(data: bytes) -> np.ndarray | None:
    """Return what the commands with TensorFlow see; None where they refuse the file."""
    try:
        image = standard.read(data, decode=True)
    except BadImageError:
        return None
    return decode(tf.constant(image.encoded), image.orientation, SIDE).numpy()


def test_two_thousand_damaged_files():
    files = {name: kind.data for name, kind in all_kinds().items() if len(kind.data) < 100_000}
    assert len(files) > 60
    before = resident()
    outcomes: collections.Counter[str] = collections.Counter()
    for how, data in mutated(files, 2000, seed=1):
        expected = seen_by_tensorflow(data)
        try:
            pixels = square(data, SIDE)
        except BadImageError as error:
            outcomes[error.reason] += 1
            assert expected is None, how
            assert "\n" not in str(error) and len(str(error)) < 500, how
            continue
        outcomes["read"] += 1
        assert expected is not None, how
        np.testing.assert_allclose(pixels, expected, rtol=0, atol=0.01, err_msg=how)
    assert resident() - before < MOST_GROWTH
    # The damage is neither too mild nor too rude to test anything.
    assert min(outcomes[kind] for kind in ("read", "corrupt", "truncated")) > 200, outcomes
    assert min(outcomes[kind] for kind in ("unknown_format", "too_large")) > 5, outcomes
