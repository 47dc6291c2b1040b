"""Image files of any origin, as bytes that the encoder's own decoder takes."""

import io
import os

from PIL import Image, ImageOps, UnidentifiedImageError

from cli.errors import UserError
from records import limits

_ORIENTATION = 0x0112  # the EXIF tag; 1 is upright

# Formats that TensorFlow decodes itself, to the same pixels as in training.
_DIRECT = ("JPEG", "PNG", "BMP", "GIF")


def read(path: str) -> bytes:
    """Read an image file as JPEG, PNG, BMP or GIF bytes, upright.

    Cameras store how they were held in the EXIF orientation; the image is turned accordingly. Other
    formats that Pillow knows are converted to PNG. Sizes are checked before a pixel is decoded.

    Args:
        path: The file.

    Returns:
        The bytes of the file, or of an equal PNG.

    Raises:
        UserError: The file is missing, no image, cut short or too large.
    """
    try:
        size = os.path.getsize(path)
        if size > limits.MAX_IMAGE_BYTES:
            raise UserError(
                f"{path}: {size:,} bytes; expected an image of at most {limits.MAX_IMAGE_BYTES:,}"
            )
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        with Image.open(io.BytesIO(content)) as image:
            return content if _usable(image, path) else _as_png(image)
    except UserError:
        raise
    except UnidentifiedImageError:  # its message holds an address in memory that always differs
        raise UserError(
            f"{path}: expected an image, found none that can be read (of no known format)"
        ) from None
    except Exception as error:  # Pillow's plugins raise many kinds for a damaged file
        raise UserError(
            f"{path}: expected an image, found none that can be read ({error})"
        ) from None


def _usable(image: Image.Image, path: str) -> bool:
    width, height = image.size
    if width * height > limits.MAX_IMAGE_PIXELS:
        raise UserError(
            f"{path}: {width} x {height} pixels; expected at most"
            f" {limits.MAX_IMAGE_PIXELS / 1e6:.0f} million"
        )
    upright = image.getexif().get(_ORIENTATION, 1) == 1
    image.load()  # raises when the file is cut short
    return upright and image.format in _DIRECT


def _as_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    ImageOps.exif_transpose(image).convert("RGB").save(file, "PNG", compress_level=1)
    return file.getvalue()
