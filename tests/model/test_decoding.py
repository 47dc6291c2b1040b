"""Stored images become squares of the pixels that they show, upright, and cheaply where large."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from model import decoding
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


def striped(width: int, height: int) -> bytes:
    """A JPEG of a smooth picture that has no symmetry."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    pixels = np.stack([255 * x, 255 * y, 127 + 120 * np.sin(9 * x + 5 * y)], -1)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def in_full(encoded: bytes, side: int) -> np.ndarray:
    pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    resized = tf.image.resize(pixels, [side, side], antialias=True)
    return tf.clip_by_value(resized, 0.0, 255.0).numpy()


@pytest.mark.parametrize("size", [(640, 640), (640, 480), (500, 375), (224, 224), (1281, 900)])
def test_photographs_of_data_sets_are_decoded_in_full(size):
    """Those of COCO and Flickr: their pixels are those of version 1 of the preprocessing."""
    encoded = striped(*size)
    for side in (64, 224, 331):
        np.testing.assert_array_equal(decode(tf.constant(encoded), 1, side), in_full(encoded, side))


@pytest.mark.parametrize(
    ("size", "side", "decoded"),
    [
        ((4000, 3000), 64, (750, 1000)),
        ((4000, 3000), 224, (1500, 2000)),
        ((4000, 3000), 331, (1500, 2000)),
        ((6001, 6001), 64, (751, 751)),
        ((4000, 1200), 64, (1200, 4000)),
    ],
)
def test_large_photographs_are_decoded_at_a_reduced_scale(size, side, decoded):
    encoded = striped(*size)
    assert decoding._pixels(tf.constant(encoded), side).shape[:2] == decoded
    pixels = decode(tf.constant(encoded), 1, side)
    np.testing.assert_allclose(pixels, in_full(encoded, side), atol=5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_those_of_pillow(orientation):
    encoded = striped(90, 60)
    image = Image.open(io.BytesIO(encoded))
    image.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(image).resize((32, 32), Image.Resampling.BILINEAR)
    compiled = tf.function(lambda image, number: decode(image, number, 32))
    for decoded in (
        decode(tf.constant(encoded), orientation, 32),
        compiled(tf.constant(encoded), tf.constant(orientation, tf.int64)),
    ):
        np.testing.assert_allclose(decoded, np.asarray(upright), atol=12)
