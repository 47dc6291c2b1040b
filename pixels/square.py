"""From the bytes of any image file to the square that an encoder takes, without TensorFlow.

It sees what the other commands see through `model.decoding`: the same decoded pixels, resized to
within .004 of 255 of theirs.
"""

import numpy as np
from PIL import Image

from pixels import modes, orientation, standard


def square(data: bytes, size: int) -> np.ndarray:
    """Return an image squashed to a square without cropping, and upright.

    Args:
        data: The content of a file of any format that `pixels.formats` lists.
        size: Side of the square, pixels.

    Returns:
        float32 RGB [size, size, 3] in 0..255.

    Raises:
        BadImageError: The image is bad; its `reason` says why. Damaged pixels are corrupt.
    """
    pixels, turned = standard.read_pixels(data, size)
    # Turned after the resize, as in `model.decoding`: it is quicker, and gives the same pixels.
    upright = orientation.upright(np.clip(_resized(pixels, size), 0, 255), turned)
    return np.ascontiguousarray(upright)


def _resized(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize uint8 [height, width, 3] to float32 [size, size, 3], with antialiasing."""
    # The longer side first: what lies between the two steps stays small.
    if len(pixels) > pixels.shape[1]:
        return _resized(pixels.swapaxes(0, 1), size).swapaxes(0, 1)
    height, width, channels = pixels.shape
    narrow = np.empty([channels, height, size], np.float32)
    # As floats, an image of 100 million pixels would take 1.2 GB.
    rows = max(1, modes.BAND_PIXELS // width)
    for start in range(0, height, rows):
        band = pixels[start : start + rows].astype(np.float32)
        for channel in range(channels):
            narrow[channel, start : start + rows] = _bilinear(band[..., channel], size, len(band))
    return np.stack([_bilinear(channel, size, size) for channel in narrow], -1)


def _bilinear(values: np.ndarray, width: int, height: int) -> np.ndarray:
    # Floats (mode F): Pillow would round 8-bit pixels to whole numbers twice.
    image = Image.fromarray(np.ascontiguousarray(values))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
