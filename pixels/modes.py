"""From any mode of Pillow to 8-bit grey or RGB, so that a picture looks as its author saw it.

- Palettes are looked up. What is transparent shows white.
- 16-bit grey is divided by 257, so that black and white stay black and white.
- 32-bit integers are scaled so that the largest value is white. Floats in 0..1 are multiplied by
  255; where they are larger, the largest value is white, too. What is negative is black.
- A float that is no number, or infinite, makes the image corrupt.
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from pixels import formats
from pixels.formats import Format

BAND_PIXELS = 1_000_000
_SIGNED = 2  # TIFF's SampleFormat.
_SAMPLE_FORMAT = 339  # The tag.


def to_rgb(image: Image.Image, kind: Format) -> Image.Image:
    """Return an image as RGB, or as 8-bit grey where it has no colour.

    Args:
        image: The decoded image.
        kind: The format that it comes from, for messages.

    Raises:
        BadImageError: corrupt, for floats that are no numbers.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _from_deep_grey(image, kind)
    if image.has_transparency_data:
        return _on_white(image if image.mode == "RGBA" else image.convert("RGBA"))
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _on_white(image: Image.Image) -> Image.Image:
    page = Image.new("RGB", image.size, "white")
    page.paste(image, mask=image.getchannel("A"))
    return page


def bands(image: Image.Image) -> Iterator[tuple[int, np.ndarray]]:
    """Yield an image in bands of a million pixels, since 50 million floats take 200 MB.

    Args:
        image: An image of any mode but "1" and "P".

    Yields:
        The first row of a band, and its values [rows, width, ...]. 32-bit integers are unsigned
        unless the file says that they are signed.
    """
    rows = max(1, BAND_PIXELS // image.width)
    tags = getattr(image, "tag_v2", {})
    unsigned = image.mode == "I" and tags.get(_SAMPLE_FORMAT, (1,))[0] != _SIGNED
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        values = np.asarray(image.crop((0, top, image.width, bottom)))
        yield top, values.view(np.uint32) if unsigned else values


def _from_deep_grey(image: Image.Image, kind: Format) -> Image.Image:
    white = None if image.mode.startswith("I;16") else _white(image, kind)
    transparent = image.info.get("transparency")
    grey = np.empty([image.height, image.width], np.uint8)
    for top, values in bands(image):
        if white is None:
            scaled = np.round(values.astype(np.float32) / 257)
        else:
            positive = np.maximum(values, 0).astype(np.float64)
            scaled = np.round(positive * (255 / white)) if white > 0 else positive
        if isinstance(transparent, int):  # The grey value that stands for nothing.
            scaled = np.where(values == transparent, 255, scaled)
        grey[top : top + len(values)] = scaled
    return Image.fromarray(grey)


def _white(image: Image.Image, kind: Format) -> float:
    """Return the value that is white: the largest one, and at least 1 among floats."""
    white = 1.0 if image.mode == "F" else 0.0
    for _, values in bands(image):
        if not np.isfinite(values).all():
            raise formats.corrupt(kind, "values that are no numbers")
        white = max(white, float(values.max()))
    return white
