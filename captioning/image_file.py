"""Image files of any origin: as the encoder takes them, and as a person sees them."""

import io
import os

import numpy as np
from PIL import Image

from cli.errors import UserError
from pixels import formats, jpeg, limits, orientation, standard
from pixels.formats import BadImageError, Format
from pixels.standard import StandardImage


def read(path: str) -> StandardImage:
    """Read an image file of any format that `pixels` knows.

    Args:
        path: The file.

    Raises:
        UserError: The file is missing, no image, cut short, damaged or too large.
    """
    try:
        size = os.path.getsize(path)
        if size > limits.MAX_IMAGE_BYTES:
            raise UserError(
                f"{path}: {size:,} bytes; expected an image of at most {limits.MAX_IMAGE_BYTES:,}"
            )
        with open(path, "rb") as file:
            # A device or a pipe has no size, and may have no end.
            content = file.read(limits.MAX_IMAGE_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        # Decoded once more than needed: TensorFlow paints damaged pixels of a JPEG grey.
        return standard.read(content, decode=True)
    except BadImageError as error:
        raise UserError(f"{path}: {error}") from None


def picture(encoded: bytes, turned: int, side: int) -> Image.Image:
    """Return an image upright and small, for people.

    Args:
        encoded: A JPEG or PNG, as records and `StandardImage` hold it.
        turned: Its EXIF orientation.
        side: The most pixels of the longer side.

    Returns:
        An RGB image.

    Raises:
        UserError: The image cannot be decoded.
    """
    try:
        small = _decode(encoded, 2 * side)
    except Exception as error:  # Pillow raises many kinds for a damaged file.
        raise UserError(f"an image that cannot be decoded ({error})") from None
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return Image.fromarray(orientation.upright(np.asarray(small), turned))


def _decode(encoded: bytes, side: int) -> Image.Image:
    """Decode an image; a large JPEG to a fraction of its size, still larger than `side`."""
    kind = formats.sniff(encoded)
    header = jpeg.read_header(encoded) if kind == Format.JPEG else None
    if header and header.inks:  # Pillow takes all inks for inverted ones.
        return Image.fromarray(jpeg.decode(encoded, header, side))
    with Image.open(io.BytesIO(encoded), formats=["JPEG", "PNG"]) as image:
        formats.check_pixels(kind, *image.size)
        image.draft("RGB", (side, side))
        return image.convert("RGB")
