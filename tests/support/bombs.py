"""Small files and texts that would cost much, or do harm, if somebody decoded them."""

import struct
import zlib

import numpy as np
from PIL import Image

from tests.support.image_kinds import picture, png, saved
from tests.support.records import jpeg


def all_bombs() -> dict[str, tuple[bytes, str]]:
    """Return name -> the bytes of a file, and the reason for which it is refused."""
    swollen = b"x\0\0" + zlib.compress(b"\0" * 100_000_000, 9)
    dot = (1, 1, 8, 3, b"\0\0")
    palette = (b"PLTE", b"\1\2\3")
    odd_tags = struct.pack("<HHII", 0x111, 4, 0xFFFFFFFF, 8)  # four billion strips
    small = Image.fromarray(picture())
    whole = saved(small, "PNG")
    refused = {
        "png of 10 gigapixels": (png(100_000, 100_000, 8, 2, b"\0" * 999), "too_large"),
        "png of very wide rows": (png(2**31 - 1, 1, 8, 2, b"\0" * 999), "too_large"),
        "png of a swollen profile": (
            png(*dot, (b"iCCP", swollen), palette),
            "corrupt",
        ),
        "png of a swollen text": (png(*dot, (b"zTXt", swollen), palette), "corrupt"),
        "png that is cut": (whole[: len(whole) // 2], "truncated"),
        "gif of a huge screen": (_gif(65_535, 65_535, frames=500), "too_large"),
        "webp of a huge canvas": (_webp(16_383, 16_383), "too_large"),
        "jpeg of a huge frame": (_jpeg(65_500, 65_500), "too_large"),
        "jpeg of large coefficients": (_jpeg(9_000, 9_000, progressive=True), "too_large"),
        "jpeg of little data": (_jpeg(9_000, 9_000), "corrupt"),
        "jpeg of many passes": (_jpeg_of_passes(500), "corrupt"),
        "tiff of many strips": (
            b"II*\0\x08\0\0\0\1\0" + odd_tags + b"\x08\0\0\0" + b"\0" * 500,
            "corrupt",
        ),
        "tiff of a huge page": (
            saved(Image.new("1", (20_000, 20_000)), "TIFF", compression="group4"),
            "too_large",
        ),
        "bmp of a huge page": (_bmp(60_000, 60_000), "too_large"),
        "nothing": (b"", "empty_file"),
    }
    foreign = {
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "xml": b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
        "ico": b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0" + struct.pack("<II", 40, 22) + b"\0" * 40,
        "psd": b"8BPS\0\1" + b"\0" * 90,
        "zip": b"PK\3\4" + b"\0" * 90,
        "pickle": b"cposix\nsystem\n(S'true'\ntR.",
        "html": b"<html><script>alert(1)</script></html>",
        "mp4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 90,
        "jpeg 2000": saved(small, "JPEG2000"),
        "address": b"http://169.254.169.254/latest/meta-data/",
    }
    return refused | {name: (data, "unknown_format") for name, data in foreign.items()}


def patched(data: bytes, mark: bytes, after: int, value: bytes) -> bytes:
    """Return data with other bytes at some distance after the first `mark`."""
    start = data.index(mark) + after
    return data[:start] + value + data[start + len(value) :]


def _gif(width: int, height: int, frames: int) -> bytes:
    """Return a GIF of a logical screen of some size and of many frames."""
    noise = np.random.default_rng(0).integers(0, 256, (frames, 9, 9), dtype=np.uint8)
    images = [Image.fromarray(frame) for frame in noise]
    data = saved(images[0], "GIF", save_all=True, append_images=images[1:])
    return patched(data, b"GIF", 6, struct.pack("<HH", width, height))


def _webp(width: int, height: int) -> bytes:
    small = Image.fromarray(picture())
    data = saved(small, "WEBP", save_all=True, append_images=[small.rotate(180)])
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return patched(data, b"VP8X", 12, size)


def _bmp(width: int, height: int) -> bytes:
    data = saved(Image.fromarray(picture()), "BMP")
    return patched(data, b"BM", 18, struct.pack("<II", width, height))


def _jpeg(width: int, height: int, progressive: bool = False) -> bytes:
    frame = b"\xff\xc2" if progressive else b"\xff\xc0"
    data = jpeg(progressive=progressive)
    return patched(data, frame, 5, struct.pack(">HH", height, width))


def _jpeg_of_passes(passes: int) -> bytes:
    data = jpeg(1, (40, 32), progressive=True)
    scan = data.index(b"\xff\xda")
    end = data.index(b"\xff", scan + 14)
    return data[:scan] + data[scan:end] * passes + data[scan:]
