"""From the bytes of any image file to an image that every command sees alike.

The job, training, evaluation and serving all read image files through `read`. What they decode is a
JPEG or a plain PNG, so that each format has one decoder: TensorFlow's for these two, Pillow's for
all others.
"""

import dataclasses
import io

import numpy as np
from PIL import Image

from pixels import formats, jpeg, limits, modes, orientation, pillow, png
from pixels.formats import BadImageError, Format
from records.rejections import RejectionReason

_PNG_LEVEL = 1  # Of zlib; more is slow and saves little on photographs.


@dataclasses.dataclass(frozen=True)
class StandardImage:
    """An image in a form that TensorFlow decodes to the right pixels.

    Attributes:
        encoded: A JPEG, or a PNG of 8-bit grey or RGB without transparency.
        orientation: The EXIF orientation to apply after decoding, 1 to 8; 1 is upright.
        source_format: The format of the file.
        reencoded: Whether `encoded` is not the file's bytes but made from its pixels.
    """

    encoded: bytes
    orientation: int
    source_format: Format
    reencoded: bool


def read(data: bytes, *, shorter_side: int = 0, decode: bool = False) -> StandardImage:
    """Return the image in a file.

    JPEGs and plain PNGs stay as they are. Others are encoded once: as a JPEG of high quality where
    the file is a lossy photograph (WebP, HEIC, AVIF), else losslessly, as a PNG.

    Args:
        data: The file's content.
        shorter_side: Pixels of the shorter side after resizing; 0 to keep the size. A resized image
            is upright and a JPEG of high quality.
        decode: Whether to decode images that stay as they are, which finds damaged pixels too.

    Raises:
        BadImageError: The image is bad.
    """
    kind = formats.sniff(data)
    if kind == Format.JPEG:
        header = jpeg.read_header(data)
        turned = orientation.from_exif(header.exif)
        if shorter_side:
            pixels = jpeg.decode(data, header, least_side=shorter_side)
            return _resized(Image.fromarray(pixels), turned, kind, shorter_side)
        if decode:
            jpeg.check_pixels(data, header)
        return StandardImage(data, turned, kind, reencoded=False)
    chunks = png.read_header(data) if kind == Format.PNG else None
    if chunks and chunks.plain and not shorter_side:
        if decode:
            pillow.load(data, kind)
        return StandardImage(data, orientation.from_exif(chunks.exif), kind, reencoded=False)
    image, turned = _load(data, kind, chunks)
    if shorter_side:
        return _resized(image, turned, kind, shorter_side)
    encoded = _as_jpeg(image) if _is_lossy(data, kind) else _as_png(image)
    return StandardImage(encoded, turned, kind, reencoded=True)


def read_pixels(data: bytes, size: int) -> tuple[np.ndarray, int]:
    """Return the pixels that `model.decoding` sees of what `read` returns, before it resizes them.

    Args:
        data: The file's content.
        size: Side of the square that the image becomes: large JPEGs are decoded at a reduced scale.

    Returns:
        uint8 RGB [height, width, 3] as stored, and the EXIF orientation to apply.

    Raises:
        BadImageError: The image is bad. Pixels that are damaged make it corrupt, too.
    """
    kind = formats.sniff(data)
    if kind == Format.JPEG:
        header = jpeg.read_header(data)
        pixels = jpeg.decode_like_tensorflow(data, header, size)
        return pixels, orientation.from_exif(header.exif)
    image, turned = _load(data, kind, png.read_header(data) if kind == Format.PNG else None)
    if _is_lossy(data, kind):
        encoded = _as_jpeg(image)
        return jpeg.decode_like_tensorflow(encoded, jpeg.read_header(encoded), size), turned
    # A PNG would keep each pixel, so that none is made.
    pixels = np.empty([image.height, image.width, 3], np.uint8)
    for top, band in modes.bands(image):
        pixels[top : top + len(band)] = band if image.mode == "RGB" else band[..., None]
    return pixels, turned


def _load(data: bytes, kind: Format, chunks: png.Header | None) -> tuple[Image.Image, int]:
    """Decode an image that is no JPEG: grey or RGB, with its EXIF orientation."""
    image = pillow.load(data, kind)
    turned = orientation.from_exif(chunks.exif if chunks else _exif(image, kind))
    return modes.to_rgb(image, kind), turned


def _exif(image: Image.Image, kind: Format) -> bytes:
    """Return the EXIF block of an image that is not upright yet."""
    exif = image.info.get("exif")
    return exif if isinstance(exif, bytes) and kind != Format.TIFF else b""


def _resized(image: Image.Image, turned: int, kind: Format, shorter_side: int) -> StandardImage:
    scale = shorter_side / min(image.size)
    width, height = (max(shorter_side, round(length * scale)) for length in image.size)
    if width * height > limits.MAX_OTHER_PIXELS:
        raise BadImageError(
            RejectionReason.TOO_LARGE,
            f"{image.width:,} x {image.height:,} pixels become {width:,} x {height:,}; expected at"
            f" most {limits.MAX_OTHER_PIXELS / 1e6:,.4g} million",
        )
    resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    encoded = jpeg.encode(orientation.upright(np.asarray(resized), turned))
    return StandardImage(encoded, orientation.UPRIGHT, kind, reencoded=True)


def _as_jpeg(image: Image.Image) -> bytes:
    return jpeg.encode(np.asarray(image.convert("RGB")))


def _as_png(image: Image.Image) -> bytes:
    image.info.clear()  # A colour profile or a transparent value is of the file, not of the pixels.
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=_PNG_LEVEL)
    return file.getvalue()


def _is_lossy(data: bytes, kind: Format) -> bool:
    """Tell whether a file is a lossy photograph, which becomes a JPEG."""
    return kind in (Format.HEIC, Format.AVIF) or (kind == Format.WEBP and _is_lossy_webp(data))


def _is_lossy_webp(data: bytes) -> bool:
    """Tell whether the first image of a WebP is lossy."""
    position = 12
    while position + 8 <= len(data):
        chunk = data[position : position + 4]
        if chunk in (b"VP8 ", b"VP8L"):
            return chunk == b"VP8 "
        if chunk == b"ANMF":  # A frame of an animation: its own chunks follow a header.
            position += 24
            continue
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + length + length % 2
    return True
