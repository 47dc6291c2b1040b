"""From any mode of Pillow to 8-bit grey or RGB, so that a picture looks as its author saw it.

- Palettes are looked up. What is transparent shows white.
- 16-bit grey is divided by 257, so that black and white stay black and white.
- 32-bit integers are scaled so that the largest value is white. Floats in 0..1 are multiplied by
  255; where they are larger, the largest value is white, too. What is negative is black.
- A float that is no number, or infinite, makes the image corrupt.
"""

import numpy as np
from PIL import Image

from pixels import formats
from pixels.formats import Format

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


def _from_deep_grey(image: Image.Image, kind: Format) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "F":
        grey = _scaled_to_largest(values, kind, white=1.0)
    elif image.mode == "I":
        if getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, (1,))[0] != _SIGNED:
            values = values.view(np.uint32)
        grey = _scaled_to_largest(values, kind, white=0)
    else:
        grey = np.round(values.astype(np.float32) / 257)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # The grey value that stands for nothing.
        grey = np.where(values == transparent, 255, grey)
    return Image.fromarray(grey.astype(np.uint8))


def _scaled_to_largest(values: np.ndarray, kind: Format, white: float) -> np.ndarray:
    """Scale values to 0..255, where at least `white`, or else the largest value, is white."""
    if not np.isfinite(values).all():
        raise formats.corrupt(kind, "values that are no numbers")
    white = max(white, float(values.max()))
    positive = np.maximum(values, 0).astype(np.float64)
    return np.round(positive * (255 / white)) if white > 0 else positive
