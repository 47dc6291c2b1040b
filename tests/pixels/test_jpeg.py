"""JPEG checks: what is good stays, what is bad gets its reason, at any place of the cut."""

import io

import pytest
from PIL import Image

from pixels import limits, standard
from pixels.formats import BadImageError
from tests.support.records import jpeg


def reason(data: bytes) -> str | None:
    """Return why `standard.read` refuses a file as it is; None when it takes it."""
    try:
        assert standard.read(data).encoded == data
    except BadImageError as error:
        return error.reason
    return None


def with_exif_thumbnail() -> bytes:
    """A JPEG whose Exif segment holds a whole JPEG, end marker and all."""
    segment = b"Exif\0\0" + jpeg(1, (8, 8))
    data = jpeg(2)
    return data[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:]


@pytest.mark.parametrize(
    "data",
    [
        jpeg(),
        jpeg(mode="L"),
        jpeg(mode="CMYK"),
        jpeg(progressive=True),
        jpeg(restart_marker_blocks=2),
        with_exif_thumbnail(),
        jpeg() + b"\0",
        jpeg() + b"\xff" * 70_000,
        jpeg() + jpeg(1),  # a second picture, as phones write it
        jpeg(progressive=True) + b"trailing text",
        b"\xff\xd8" + b"\xff" * 5 + jpeg()[2:],
    ],
)
def test_good_images(data):
    assert reason(data) is None
    assert standard.read(data, decode=True).encoded == data


@pytest.mark.parametrize("progressive", [False, True])
def test_a_cut_is_seen_wherever_it_is(progressive):
    data = jpeg(size=(24, 16), progressive=progressive)
    for end in range(1, len(data) - 1):
        assert reason(data[:end]) == "truncated", end
        # Zeros after the cut, as a download that was never finished leaves them.
        assert reason(data[:end] + b"\0" * 64) is not None, end
    data = with_exif_thumbnail()
    assert reason(data[: data.index(b"\xff\xd9") + 2]) == "truncated"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty_file"),
        (b"<html>\xff\xd8\xff\xd9</html>", "unknown_format"),
        (b"\xff\xd8\xff\xd9", "corrupt"),
        (b"\xff\xd8\xff\xe0\0\0", "corrupt"),
        (b"\xff\xd8\xffnonsense", "corrupt"),
        (jpeg().replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"), "corrupt"),  # 12 bits
        (jpeg().replace(b"\xff\xc0", b"\xff\xc9"), "corrupt"),  # arithmetic coding
        (jpeg().replace(b"\xff\xc0\0\x11\x08\0\x20", b"\xff\xc0\0\x11\x08\0\0"), "corrupt"),
        (
            jpeg().replace(
                b"\xff\xc0\0\x11\x08\0\x20\0\x28", b"\xff\xc0\0\x11\x08\xff\xff\xff\xff"
            ),
            "too_large",
        ),
    ],
)
def test_bad_images(data, expected):
    assert reason(data) == expected


def test_too_many_pixels():
    def of_size(height: int, width: int) -> bytes:
        size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
        return jpeg().replace(b"\xff\xc0\0\x11\x08\0\x20\0\x28", b"\xff\xc0\0\x11\x08" + size)

    assert limits.MAX_JPEG_PIXELS == 20_000 * 10_000
    assert reason(of_size(20_000, 10_000)) is None
    assert reason(of_size(20_001, 10_000)) == "too_large"


def test_a_large_image_that_comes_in_several_passes():
    """A decoder would keep 1.2 GB of coefficients, at any scale."""

    def of_size(data: bytes, height: int, width: int) -> bytes:
        start = data.index(b"\xff\xc2" if b"\xff\xc2" in data else b"\xff\xc0") + 5
        size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
        return data[:start] + size + data[start + 4 :]

    progressive, whole = jpeg(progressive=True), jpeg()
    by_colour = whole.replace(b"\xff\xda\0\x0c\3", b"\xff\xda\0\x0c\1")
    assert by_colour != whole
    for data in (progressive, by_colour):
        assert reason(of_size(data, 7000, 7000)) is None
        with pytest.raises(BadImageError, match="expected at most 50 million in a progressive"):
            standard.read(of_size(data, 8000, 7000))
    assert reason(of_size(whole, 8000, 7000)) is None


def test_too_many_bytes(monkeypatch):
    monkeypatch.setattr(limits, "MAX_IMAGE_BYTES", 100)
    assert reason(jpeg()) == "too_large"


def test_only_decoding_sees_damaged_pixels():
    data = jpeg()
    data = data[: len(data) // 2] + data[-len(data) // 4 :]
    assert reason(data) is None
    for how in ({"decode": True}, {"shorter_side": 16}):
        with pytest.raises(BadImageError) as caught:
            standard.read(data, **how)
        assert caught.value.reason == "corrupt"


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", [(40, 32), (32, 40), (32, 32), (10, 500), (300, 200)])
def test_resizing_keeps_the_picture(mode, size):
    colour = {"RGB": (200, 30, 60), "L": 120, "CMYK": (0, 200, 150, 40)}[mode]
    source = Image.new(mode, size, colour)
    file = io.BytesIO()
    source.save(file, "JPEG", quality=95)
    resized = standard.read(file.getvalue(), shorter_side=32).encoded
    image = Image.open(io.BytesIO(resized))
    assert min(image.size) == 32 and image.mode == "RGB"
    assert abs(image.width / image.height - size[0] / size[1]) < 0.04 * size[0] / size[1]
    expected = Image.open(io.BytesIO(file.getvalue())).convert("RGB").getpixel((0, 0))
    assert all(abs(a - b) < 6 for a, b in zip(image.getpixel((9, 9)), expected, strict=True))
    assert standard.read(file.getvalue(), shorter_side=32).encoded == resized
