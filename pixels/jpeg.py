"""The checks of a JPEG, cheapest first; its strict decoding, and the encoding of what we write.

`read_header` walks the markers: it finds files that are no JPEG and files cut short. Only decoding
(`check_pixels`) finds damage inside the entropy-coded data.
"""

import dataclasses
import re

import numpy as np
import simplejpeg
from PIL import Image

from pixels import formats, limits
from pixels.formats import BadImageError, Format
from records.rejections import RejectionReason

_EOI = b"\xff\xd9"
_SOS = 0xDA
_APP1, _APP14 = 0xE1, 0xEE
# Baseline, extended and progressive Huffman: what TensorFlow's decoder reads.
_FRAMES = {0xC0, 0xC1, 0xC2}
_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_PROGRESSIVE = 0xC2
# A marker that ends entropy-coded data: no stuffed zero, no restart, no fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_QUALITY = 95
# The rule by which `model.decoding` decodes large images at a reduced scale; a test compares them.
_SPARE, _LEAST_SIDE, _RATIOS = 4, 641, (1, 2, 4, 8)


@dataclasses.dataclass
class Header:
    """What the segments before the first scan say.

    Attributes:
        components: 1 for grey, 3 for colours, 4 for CMYK inks.
        progressive: Whether it is progressive.
        adobe: Whether Adobe's marker says that its inks are stored inverted.
        height: Rows.
        width: Pixels in a row.
        exif: The EXIF block, or nothing.
    """

    components: int = 0
    progressive: bool = False
    adobe: bool = False
    height: int = 0
    width: int = 0
    exif: bytes = b""

    @property
    def inks(self) -> bool:
        """Whether the image is CMYK."""
        return self.components == 4


def read_header(data: bytes) -> Header:
    """Check the markers from the start of the image to its end; bytes after the end are legal.

    Args:
        data: The file's content, which begins with the first marker of a JPEG.

    Raises:
        BadImageError: truncated, corrupt or too_large.
    """
    if data[2:3] != b"\xff":
        raise formats.truncated(Format.JPEG)
    header = Header()
    has_frame, position = _walk_segments(data, 2, header)
    if not has_frame:
        raise formats.corrupt(Format.JPEG, "it has no pixels")
    # Nearly every file ends with its end marker. In others, bytes follow the marker (a second
    # picture, zeros) or it is missing; only a walk over all scans tells which.
    if not data.endswith(_EOI):
        _walk_scans(data, position)
    return header


def _walk_segments(data: bytes, position: int, header: Header) -> tuple[bool, int]:
    """Return whether there is a frame, and where the scan or the end begins; fill `header`."""
    has_frame = False
    while True:
        marker, position = _next_marker(data, position)
        if marker == 0xD9:
            return has_frame, position - 2
        if marker < 0xC0:
            raise formats.corrupt(Format.JPEG, "it has an unknown marker")
        if marker in _OTHER_FRAMES:
            raise formats.corrupt(Format.JPEG, "neither baseline nor progressive Huffman coding")
        if position + 2 > len(data):
            raise formats.truncated(Format.JPEG)
        length = (data[position] << 8) + data[position + 1]
        if length < 2:
            raise formats.corrupt(Format.JPEG, "a segment is shorter than its length")
        if position + length > len(data):
            raise formats.truncated(Format.JPEG)
        if marker in _FRAMES:
            has_frame = True
            frame = data[position : position + length]
            header.height, header.width, header.components = _check_frame(frame)
            header.progressive = marker == _PROGRESSIVE
            if header.progressive and data.count(b"\xff\xda") > limits.MAX_JPEG_PASSES:
                raise formats.corrupt(
                    Format.JPEG, f"more than {limits.MAX_JPEG_PASSES} progressive passes"
                )
        elif marker == _APP1 and data.startswith(b"Exif\0\0", position + 2):
            header.exif = header.exif or data[position + 2 : position + length]
        elif marker == _APP14 and length >= 14 and data.startswith(b"Adobe", position + 2):
            header.adobe = True
        elif marker == _SOS:
            _check_passes(header, int.from_bytes(data[position + 2 : position + 3], "big"))
        position += length
        if marker == _SOS:
            return has_frame, position


def _next_marker(data: bytes, position: int) -> tuple[int, int]:
    """Return a marker and the position after it; fill bytes before it are legal."""
    end = len(data)
    if position < end and data[position] != 0xFF:
        raise formats.corrupt(Format.JPEG, "a marker is missing")
    while position < end and data[position] == 0xFF:
        position += 1
    if position >= end:
        raise formats.truncated(Format.JPEG)
    return data[position], position + 1


def _check_frame(frame: bytes) -> tuple[int, int, int]:
    """Check a frame header; return height, width and the number of components."""
    if len(frame) < 8:
        raise formats.corrupt(Format.JPEG, "its frame header is too short")
    height, width = int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[5:7], "big")
    if frame[2] != 8 or not height or not width or frame[7] not in (1, 3, 4):
        raise formats.corrupt(Format.JPEG, "not 8 bits a sample in 1, 3 or 4 components")
    formats.check_pixels(Format.JPEG, width, height)
    return height, width, frame[7]


def _check_passes(header: Header, components: int) -> None:
    """Refuse a large image whose first scan holds a part of it: decoders then keep all of it."""
    in_parts = header.progressive or components < header.components
    if in_parts and header.height * header.width > limits.MAX_OTHER_PIXELS:
        raise BadImageError(
            RejectionReason.TOO_LARGE,
            f"{header.width:,} x {header.height:,} pixels in several passes; expected at most"
            f" {limits.MAX_OTHER_PIXELS / 1e6:,.4g} million in a progressive JPEG",
        )


def _walk_scans(data: bytes, position: int) -> None:
    """Walk from entropy-coded data to the end marker, over the segments between scans."""
    while not data.startswith(_EOI, position):
        marker = _MARKER.search(data, position)
        if not marker:
            raise formats.truncated(Format.JPEG)
        _, position = _walk_segments(data, marker.start(), Header())


def check_pixels(data: bytes, header: Header) -> None:
    """Decode an image strictly, at the smallest scale: damage shows at every scale.

    Args:
        data: The file's content.
        header: What `read_header` returned.

    Raises:
        BadImageError: corrupt.
    """
    _decode(data, header, 1, 1)


def decode(data: bytes, header: Header, least_side: int) -> np.ndarray:
    """Return uint8 RGB [height, width, 3] as stored, not turned.

    Args:
        data: The file's content.
        header: What `read_header` returned.
        least_side: An image of very many pixels is decoded at a reduced scale, down to twice this
            many pixels a side.

    Raises:
        BadImageError: corrupt.
    """
    large = header.height * header.width > limits.MAX_OTHER_PIXELS
    least = 2 * least_side if large else 0
    pixels = _decode(data, header, least, least)
    if not header.inks:
        return pixels
    inks = 255 - pixels if header.adobe else pixels
    return np.asarray(Image.fromarray(inks, "CMYK").convert("RGB"))


def decode_like_tensorflow(data: bytes, header: Header, size: int) -> np.ndarray:
    """Return what `model.decoding` decodes before it resizes to `size`, bit for bit.

    Args:
        data: The file's content.
        header: What `read_header` returned.
        size: Side of the square that the image becomes. A large image is decoded at 1/2, 1/4 or 1/8
            of its size, like there.

    Returns:
        uint8 RGB [height, width, 3] as stored, not turned.

    Raises:
        BadImageError: corrupt. TensorFlow paints damaged pixels grey.
    """
    ratio = _ratio(min(header.height, header.width), size)
    least_height, least_width = -(-header.height // ratio), -(-header.width // ratio)
    pixels = _decode(data, header, least_height, least_width, fastdct=True)
    if not header.inks:
        return pixels
    # In place and a row at a time: the image may have 100 million pixels.
    for row in pixels:
        inks = row.astype(np.uint16) if header.adobe else 255 - row.astype(np.uint16)
        row[:, :3] = inks[:, :3] * inks[:, 3:] // 255
    return pixels[..., :3]


def _ratio(shorter_side: int, size: int) -> int:
    """Return by how much a JPEG is reduced while it is decoded: the rule of `model.decoding`."""
    least = max(_SPARE * size, _LEAST_SIDE)
    return max(ratio for ratio in _RATIOS if ratio == 1 or shorter_side // ratio >= least)


def _decode(
    data: bytes, header: Header, least_height: int, least_width: int, *, fastdct: bool = False
) -> np.ndarray:
    """Decode, at the smallest scale that has so many rows and columns; 0: in full."""
    colours = "CMYK" if header.inks else "RGB"
    try:
        return simplejpeg.decode_jpeg(
            data,
            colours,
            fastdct=fastdct,
            min_height=least_height,
            min_width=least_width,
            min_factor=1,
        )
    except ValueError as error:
        raise formats.corrupt(Format.JPEG, str(error)) from None


def encode(pixels: np.ndarray) -> bytes:
    """Return uint8 RGB [height, width, 3] as a JPEG of high quality, colour at full resolution."""
    contiguous = np.ascontiguousarray(pixels)
    return simplejpeg.encode_jpeg(contiguous, quality=_QUALITY, colorspace="RGB")
