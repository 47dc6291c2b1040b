"""The checks of a JPEG, cheapest first, and the resizing that a build can do.

`check_header` walks the markers: it finds files that are no JPEG and files cut short. Only decoding
(`check_pixels`) finds damage inside the entropy-coded data.
"""

import io
import re

import numpy as np
import simplejpeg
from PIL import Image

from records import limits
from records.rejections import RejectionReason

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_SOS = 0xDA
# Baseline, extended and progressive Huffman: what TensorFlow's decoder reads.
_FRAMES = {0xC0, 0xC1, 0xC2}
_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
# A marker that ends entropy-coded data: no stuffed zero, no restart, no fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_QUALITY = 95


class BadImageError(ValueError):
    """An image that must be left out.

    Attributes:
        reason: Why.
    """

    def __init__(self, reason: RejectionReason):
        super().__init__(reason)
        self.reason = reason


def check_header(data: bytes) -> None:
    """Check the markers from the start of the image to its end; bytes after the end are legal.

    Raises:
        BadImageError: empty_file, not_jpeg, truncated, corrupt or too_large.
    """
    if not data:
        raise BadImageError(RejectionReason.EMPTY_FILE)
    if data[:3] != _SOI + b"\xff":
        cut_short = _SOI.startswith(data[:2])
        raise BadImageError(RejectionReason.TRUNCATED if cut_short else RejectionReason.NOT_JPEG)
    pixels, position = _walk_segments(data, 2)
    if pixels is None:
        raise BadImageError(RejectionReason.CORRUPT)
    if len(data) > limits.MAX_IMAGE_BYTES or pixels > limits.MAX_IMAGE_PIXELS:
        raise BadImageError(RejectionReason.TOO_LARGE)
    # Nearly every file ends with its end marker. In others, bytes follow the marker (a second
    # picture, zeros) or it is missing; only a walk over all scans tells which.
    if not data.endswith(_EOI):
        _walk_scans(data, position)


def _walk_segments(data: bytes, position: int) -> tuple[int | None, int]:
    """Return the frame's pixels (None without a frame), and where the scan or the end begins."""
    pixels = None
    while True:
        marker, position = _next_marker(data, position)
        if marker == 0xD9:
            return pixels, position - 2
        if marker < 0xC0 or marker in _OTHER_FRAMES:
            raise BadImageError(RejectionReason.CORRUPT)
        if position + 2 > len(data):
            raise BadImageError(RejectionReason.TRUNCATED)
        length = (data[position] << 8) + data[position + 1]
        if length < 2:
            raise BadImageError(RejectionReason.CORRUPT)
        if position + length > len(data):
            raise BadImageError(RejectionReason.TRUNCATED)
        if marker in _FRAMES:
            pixels = _pixels(data[position : position + length])
        position += length
        if marker == _SOS:
            return pixels, position


def _next_marker(data: bytes, position: int) -> tuple[int, int]:
    """Return a marker and the position after it; fill bytes before it are legal."""
    end = len(data)
    if position < end and data[position] != 0xFF:
        raise BadImageError(RejectionReason.CORRUPT)
    while position < end and data[position] == 0xFF:
        position += 1
    if position >= end:
        raise BadImageError(RejectionReason.TRUNCATED)
    return data[position], position + 1


def _pixels(frame: bytes) -> int:
    """Return height x width of a frame header: length, precision, height, width, components."""
    if len(frame) < 8:
        raise BadImageError(RejectionReason.CORRUPT)
    height, width = int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[5:7], "big")
    if frame[2] != 8 or not height or not width or frame[7] not in (1, 3, 4):
        raise BadImageError(RejectionReason.CORRUPT)
    return height * width


def _walk_scans(data: bytes, position: int) -> None:
    """Walk from entropy-coded data to the end marker, over the segments between scans."""
    while not data.startswith(_EOI, position):
        marker = _MARKER.search(data, position)
        if not marker:
            raise BadImageError(RejectionReason.TRUNCATED)
        _, position = _walk_segments(data, marker.start())


def check_pixels(data: bytes) -> None:
    """Decode the image strictly; `data` must have passed `check_header`.

    Raises:
        BadImageError: corrupt.
    """
    _decode(data)


def _decode(data: bytes) -> np.ndarray:
    """Return uint8 RGB [height, width, 3]; for a CMYK image its inks [height, width, 4]."""
    try:
        colours = simplejpeg.decode_jpeg_header(data)[2]
        return simplejpeg.decode_jpeg(data, "CMYK" if colours in ("CMYK", "YCCK") else "RGB")
    except ValueError:
        raise BadImageError(RejectionReason.CORRUPT) from None


def resize(data: bytes, side: int) -> bytes:
    """Return the image as an RGB JPEG whose shorter side is `side` pixels long.

    Raises:
        BadImageError: corrupt.
    """
    pixels = _decode(data)
    if pixels.shape[2] == 4:
        image = Image.open(io.BytesIO(data)).convert("RGB")  # Knows Adobe's inverted inks.
    else:
        image = Image.fromarray(pixels)
    scale = side / min(image.size)
    width, height = (max(side, round(length * scale)) for length in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return simplejpeg.encode_jpeg(np.asarray(resized), quality=_QUALITY, colorspace="RGB")
