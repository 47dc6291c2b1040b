"""Two engines, one look: what is read without TensorFlow is what the other commands see."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from captioning import image_file
from cli.errors import UserError
from model import decoding
from pixels import jpeg, modes, square, standard
from pixels.formats import BadImageError
from tests.support.commands import ROOT
from tests.support.image_kinds import all_kinds, picture, saved, turned
from tests.support.records import jpeg as noisy_jpeg

KINDS = all_kinds()
# Of 255: the two resizes round floats in another order.
TOLERANCE = 0.01


def check_engines_agree(data: bytes, size: int) -> tuple[int, int]:
    """Check an image in both engines; return the height and width that both decode."""
    image = standard.read(data)
    encoded = tf.constant(image.encoded)
    pixels, orientation = standard.read_pixels(data, size)
    np.testing.assert_array_equal(pixels, decoding._pixels(encoded, size).numpy())
    assert orientation == image.orientation
    seen = square.square(data, size)
    assert (seen.dtype, seen.shape, seen.flags.c_contiguous) == (np.float32, (size, size, 3), True)
    assert 0 <= seen.min() <= seen.max() <= 255
    expected = decoding.decode(encoded, image.orientation, size).numpy()
    np.testing.assert_allclose(seen, expected, rtol=0, atol=TOLERANCE)
    return pixels.shape[0], pixels.shape[1]


def noise(width: int, height: int, mode: str = "RGB", kind: str = "JPEG", **save) -> bytes:
    """Return a file of a blurred noise, which shows a wrong upsampling, scale or filter."""
    rng = np.random.default_rng(width * 7 + height)
    coarse = rng.integers(0, 256, (height // 5 + 1, width // 5 + 1, 3), np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return saved(image.convert(mode), kind, **save)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file(name):
    for size in (24, 64, 100):
        check_engines_agree(KINDS[name].data, size)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(orientation):
    shows = np.asarray(Image.fromarray(picture()).resize((32, 32), Image.Resampling.BILINEAR))
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        data = turned(orientation, kind, quality=95)
        check_engines_agree(data, 32)
        assert np.abs(square.square(data, 32) - shows).mean() < 4, kind


@pytest.mark.parametrize(
    ("width", "height"),
    [(1, 1), (1, 5000), (5000, 1), (3, 2), (31, 33), (32, 32), (33, 31), (300, 200), (201, 301)],
)
def test_odd_sizes(width, height):
    for mode in ("RGB", "L", "CMYK"):
        check_engines_agree(noise(width, height, mode), 32)
    check_engines_agree(noise(width, height, kind="PNG"), 32)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_colour_of_less_resolution(subsampling, progressive):
    for width, height in ((151, 101), (160, 96)):
        check_engines_agree(
            noise(width, height, subsampling=subsampling, progressive=progressive), 48
        )


@pytest.mark.parametrize(
    ("width", "height", "size", "decoded"),
    [
        (1281, 1500, 64, (1500, 1281)),
        (1282, 1500, 64, (750, 641)),
        (2600, 2563, 64, (1282, 1300)),
        (2600, 2564, 64, (641, 650)),
        (5127, 5128, 64, (1282, 1282)),
        (5129, 5128, 64, (641, 642)),
        (1791, 1900, 224, (1900, 1791)),
        (1793, 1792, 224, (896, 897)),
    ],
)
def test_large_photographs_are_decoded_at_the_same_scale(width, height, size, decoded):
    assert check_engines_agree(noise(width, height), size) == decoded
    if width < 2000:
        assert check_engines_agree(noise(width, height, "CMYK"), size) == decoded


def test_a_large_lossy_image_of_another_format_too():
    """It is encoded as a JPEG for the other commands, and they decode that at a reduced scale."""
    data = noise(1400, 1300, kind="WEBP", quality=90)
    assert check_engines_agree(data, 48) == (650, 700)


def test_the_rule_of_the_scales_is_that_of_the_other_engine():
    assert (jpeg._SPARE, jpeg._LEAST_SIDE) == (decoding._SPARE, decoding._LEAST_SIDE)
    assert jpeg._RATIOS == decoding._RATIOS


def test_bands_do_not_show(monkeypatch):
    tall = noise(200, 300)
    at_once = {name: square.square(kind.data, 48) for name, kind in KINDS.items()}
    tall_at_once = square.square(tall, 48)
    monkeypatch.setattr(modes, "BAND_PIXELS", 999)
    np.testing.assert_array_equal(square.square(tall, 48), tall_at_once)
    for name, kind in KINDS.items():
        np.testing.assert_array_equal(square.square(kind.data, 48), at_once[name], err_msg=name)


def test_a_large_photograph_is_never_in_memory_at_its_size():
    data = noise(5200, 5200)
    tracemalloc.start()
    square.square(data, 64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6  # bytes; in full it has 81 million


@pytest.mark.parametrize("progressive", [False, True])
def test_damaged_pixels_are_refused_by_both(progressive, tmp_path):
    """TensorFlow alone would paint them grey and caption that."""
    whole = noisy_jpeg(size=(80, 64), progressive=progressive)
    damaged = whole[: len(whole) // 2] + whole[-len(whole) // 4 :]
    assert decoding.decode(tf.constant(damaged), 1, 32).shape == (32, 32, 3)
    plain = saved(Image.fromarray(picture()), "PNG")
    start = plain.index(b"IDAT") + 30
    for name, data in {
        "damaged.jpg": damaged,
        "damaged.png": plain[:start] + b"\0\1\2" + plain[start + 3 :],
    }.items():
        with pytest.raises(BadImageError) as caught:
            square.square(data, 32)
        assert caught.value.reason == "corrupt"
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=f"{name}: expected an image, found"):
            image_file.read(str(tmp_path / name))


def test_tensorflow_is_not_needed():
    script = (
        "import io, sys\n"
        "sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from PIL import Image; from pixels.square import square\n"
        "file = io.BytesIO(); Image.new('RGB', (9, 5), 'red').save(file, 'PNG')\n"
        "print(square(file.getvalue(), 4)[3, 3])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[255.   0.   0.]\n", done.stderr


def test_photographs():
    if not os.environ.get("CAPTION_DATA"):
        pytest.skip("CAPTION_DATA is not set: no photographs of COCO and Flickr8k to compare on")
    folder = Path(os.environ["CAPTION_DATA"])
    paths = sorted(folder.glob("coco2017/val2017/*.jpg"))[:60]
    paths += sorted(folder.glob("flickr8k/images/*.jpg"))[::200]
    assert len(paths) > 60
    for path in paths:
        for size in (96, 224):
            check_engines_agree(path.read_bytes(), size)
