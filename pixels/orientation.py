"""How the camera was held: the EXIF orientation, 1 to 8, and turning an image upright.

The number says where the first row and column of the stored pixels belong; 1 is upright. Only EXIF
counts, as in browsers, and EXIF that is damaged counts as upright.
"""

import numpy as np
from PIL import ExifTags, Image

UPRIGHT = 1
# Orientation -> whether to transpose, then to reverse the rows, then the columns.
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
ALL = tuple(_TURNS)


def from_exif(exif: bytes) -> int:
    """Return the orientation in an EXIF block, with or without its `Exif` header.

    Args:
        exif: The block; may be empty.
    """
    if not exif:
        return UPRIGHT
    parsed = Image.Exif()
    try:
        parsed.load(exif)
        value = parsed.get(ExifTags.Base.Orientation, UPRIGHT)
    except Exception:  # Pillow raises many kinds for damaged EXIF.
        return UPRIGHT
    return value if isinstance(value, int) and value in _TURNS else UPRIGHT


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn pixels upright.

    Args:
        pixels: [height, width, ...] as stored.
        orientation: 1 to 8.

    Returns:
        The pixels upright; height and width are exchanged for 5 to 8.
    """
    transpose, reverse_rows, reverse_columns = _TURNS[orientation]
    if transpose:
        pixels = pixels.swapaxes(0, 1)
    if reverse_rows:
        pixels = pixels[::-1]
    return pixels[:, ::-1] if reverse_columns else pixels
