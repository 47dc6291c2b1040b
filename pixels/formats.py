"""Which image formats are read. A file's first bytes tell its format; its name does not matter."""

import enum

from pixels import limits
from records.rejections import RejectionReason


class Format(enum.StrEnum):
    """A format that is read, by the name that people know."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WebP"
    GIF = "GIF"
    BMP = "BMP"
    TIFF = "TIFF"
    HEIC = "HEIC"
    AVIF = "AVIF"


ALL = ", ".join(Format)
# How the names of image files end, in lower case. Where a folder is searched, these are taken.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".heic", ".heif", ".avif"),
)
_MAGIC = (
    (b"\xff\xd8", Format.JPEG),
    (b"\x89PNG\r\n\x1a\n", Format.PNG),
    (b"GIF87a", Format.GIF),
    (b"GIF89a", Format.GIF),
    (b"BM", Format.BMP),
    (b"II*\0", Format.TIFF),
    (b"MM\0*", Format.TIFF),
    (b"II+\0", Format.TIFF),  # BigTIFF
    (b"MM\0+", Format.TIFF),
)
# HEIC and AVIF are boxes, and the first box lists the brands that a reader may take the file for.
_BRANDS = {
    Format.AVIF: {b"avif", b"avis"},
    Format.HEIC: {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"},
}


class BadImageError(ValueError):
    """An image that must be left out; the message says what was expected and what was found.

    Attributes:
        reason: Why.
    """

    def __init__(self, reason: RejectionReason, message: str):
        super().__init__(message)
        self.reason = reason


def sniff(data: bytes) -> Format:
    """Return the format that the first bytes of a file tell.

    Args:
        data: The file's content.

    Raises:
        BadImageError: empty_file, truncated, too_large, or unknown_format.
    """
    if not data:
        raise BadImageError(RejectionReason.EMPTY_FILE, "expected an image, found an empty file")
    if len(data) > limits.MAX_IMAGE_BYTES:
        raise BadImageError(
            RejectionReason.TOO_LARGE,
            f"{len(data):,} bytes; expected an image of at most {limits.MAX_IMAGE_BYTES:,}",
        )
    for magic, known in _MAGIC:
        if data.startswith(magic):
            return known
        if magic.startswith(data):
            raise truncated(known)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Format.WEBP
    if data[4:8] == b"ftyp":
        brands = _brands(data)
        for known, own in _BRANDS.items():
            if brands & own:
                return known
    raise BadImageError(
        RejectionReason.UNKNOWN_FORMAT,
        f"expected an image ({ALL}), found a file that begins with {data[:12]!r}",
    )


def _brands(data: bytes) -> set[bytes]:
    end = min(int.from_bytes(data[:4], "big"), len(data), 256)
    return {data[8:12], *(data[start : start + 4] for start in range(16, end, 4))}


def check_pixels(kind: Format, width: int, height: int) -> None:
    """Refuse an image of too many pixels.

    Args:
        kind: Its format.
        width: Pixels in a row.
        height: Rows.

    Raises:
        BadImageError: too_large.
    """
    if width * height > _most_pixels(kind):
        raise too_large(kind, f"{width:,} x {height:,} pixels")


def too_large(kind: Format, found: str) -> BadImageError:
    """Return the error of an image of too many pixels.

    Args:
        kind: Its format.
        found: How many pixels it has.
    """
    most = f"{_most_pixels(kind) / 1e6:,.4g} million"
    return BadImageError(RejectionReason.TOO_LARGE, f"{found}; expected at most {most} in {kind}")


def _most_pixels(kind: Format) -> int:
    return limits.MAX_JPEG_PIXELS if kind == Format.JPEG else limits.MAX_OTHER_PIXELS


def truncated(kind: Format) -> BadImageError:
    """Return the error of a file that ends too early."""
    return BadImageError(
        RejectionReason.TRUNCATED, f"expected a whole image, found {kind} data that is cut short"
    )


def corrupt(kind: Format, problem: str) -> BadImageError:
    """Return the error of a damaged file.

    Args:
        kind: Its format.
        problem: What is wrong with it.
    """
    return BadImageError(
        RejectionReason.CORRUPT,
        f"expected an image, found {kind} data that cannot be read ({problem})",
    )
