"""Stored images become squares of the pixels that they show, upright, and cheaply where large."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from model.decoding import decode

RED, BLUE = (250, 20, 30), (20, 40, 240)


def two_colours(kind: str, mode: str = "RGB", size=(90, 60), **save) -> bytes:
    """Red on the left, blue on the right, as a file."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:, : size[0] // 2], pixels[:, size[0] // 2 :] = RED, BLUE
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **save)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *[("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGB")],
    ],
)
@pytest.mark.parametrize("size", [(90, 60), (20, 200)])
def test_decode_gives_rgb_of_the_size_asked(kind, mode, size):
    pixels = decode(tf.constant(two_colours(kind, mode, size)), 1, 32).numpy()
    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.float32
    assert 0 <= pixels.min() < pixels.max() <= 255
    np.testing.assert_allclose(pixels[8:24, 4:12].mean((0, 1)), RED, atol=12)
    np.testing.assert_allclose(pixels[8:24, 20:28].mean((0, 1)), BLUE, atol=12)


def test_decode_of_grayscale_is_gray_in_three_channels():
    pixels = decode(tf.constant(two_colours("JPEG", "L")), 1, 32).numpy()
    assert pixels.shape == (32, 32, 3)
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 1])
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])
    assert pixels[16, 8, 0] > pixels[16, 24, 0] + 20  # red is lighter than blue


def test_decode_does_not_skip_pixels_when_it_shrinks():
    stripes = np.zeros((320, 320, 3), np.uint8)
    stripes[:, ::2] = 255
    file = io.BytesIO()
    Image.fromarray(stripes).save(file, "PNG")
    pixels = decode(tf.constant(file.getvalue()), 1, 64).numpy()[2:-2, 2:-2]
    np.testing.assert_allclose(pixels, 127.5, atol=8)
