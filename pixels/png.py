"""The check of a PNG: a walk over its chunks, from the signature to the end, without decoding."""

import dataclasses
import zlib

from pixels import formats
from pixels.formats import Format

_GREY, _RGB = 0, 2  # Types of colour.
_MOST_CHUNKS = 50_000  # An image of 64 MiB has 8,000 chunks of the usual size.


@dataclasses.dataclass(frozen=True)
class Header:
    """What the chunks of a PNG say.

    Attributes:
        depth: Bits of a sample.
        plain: Whether every decoder sees the same pixels: 8-bit grey or RGB, nothing transparent.
        exif: The EXIF block, or nothing.
    """

    depth: int
    plain: bool
    exif: bytes


def read_header(data: bytes) -> Header:
    """Check the chunks of a PNG and return what they say; bytes after the end are legal.

    Args:
        data: The file's content, which begins with the signature of PNG.

    Raises:
        BadImageError: truncated, corrupt or too_large.
    """
    position, depth, colour, exif = 8, 0, -1, b""
    transparent = has_pixels = False
    for _ in range(_MOST_CHUNKS):
        kind, content, position = _chunk(data, position)
        if not depth:
            depth, colour = _image_header(kind, content)
        elif kind == b"tRNS":
            transparent = True
        elif kind == b"eXIf":
            exif = exif or bytes(content)
        elif kind == b"IDAT":
            has_pixels = True
        elif kind == b"IEND":
            break
    else:
        raise formats.corrupt(Format.PNG, f"more than {_MOST_CHUNKS:,} chunks")
    if not has_pixels:
        raise formats.corrupt(Format.PNG, "it has no pixels")
    plain = depth == 8 and colour in (_GREY, _RGB) and not transparent
    return Header(depth, plain, exif)


def _chunk(data: bytes, position: int) -> tuple[bytes, memoryview, int]:
    """Return the type and content of a chunk, and where the next one begins."""
    content_start = position + 8
    content_end = content_start + int.from_bytes(data[position : position + 4], "big")
    if content_end + 4 > len(data):
        raise formats.truncated(Format.PNG)
    kind = data[position + 4 : content_start]
    view = memoryview(data)
    checksum = int.from_bytes(data[content_end : content_end + 4], "big")
    # Decoders skip chunks that are not critical when they are damaged. Those have small letters.
    if kind[:1].isupper() and zlib.crc32(view[position + 4 : content_end]) != checksum:
        raise formats.corrupt(Format.PNG, "the checksum of a chunk does not match")
    return kind, view[content_start:content_end], content_end + 4


def _image_header(kind: bytes, content: memoryview) -> tuple[int, int]:
    """Check the first chunk; return the depth and the type of colour."""
    if kind != b"IHDR" or len(content) != 13:
        raise formats.corrupt(Format.PNG, "it does not begin with its header")
    width, height = int.from_bytes(content[:4], "big"), int.from_bytes(content[4:8], "big")
    if not width or not height or content[8] not in (1, 2, 4, 8, 16):
        raise formats.corrupt(Format.PNG, "its header makes no sense")
    formats.check_pixels(Format.PNG, width, height)
    return content[8], content[9]
