"""From encoded images to the square that an encoder takes.

This is the one place that decodes and resizes, so that the records job, training, evaluation and
serving see the same pixels.
"""

import functools

import tensorflow as tf

# A large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, while both sides stay at least this many
# times the encoder's side, and larger than photographs of COCO and Flickr: those stay as they were.
_SPARE = 4
_LEAST_SIDE = 641  # pixels
_RATIOS = (1, 2, 4, 8)
# EXIF orientation -> whether to transpose, then to reverse the rows, then the columns.
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


def decode(encoded: tf.Tensor, orientation: tf.Tensor | int, size: int) -> tf.Tensor:
    """Decode an image, squash it to a square without cropping, and turn it upright.

    Args:
        encoded: scalar string: a JPEG (grayscale and CMYK too), or a PNG of 8 bits.
        orientation: scalar integer, the EXIF orientation, 1 to 8; 1 is upright.
        size: side of the square, pixels.

    Returns:
        float32 RGB [size, size, 3] in 0..255.
    """
    return _decode(tf.convert_to_tensor(encoded), tf.cast(orientation, tf.int64), size)


# Compiled, because the branches alone take 2 ms where each operation is dispatched by itself.
@tf.function(autograph=False)
def _decode(encoded: tf.Tensor, orientation: tf.Tensor, size: int) -> tf.Tensor:
    pixels = _pixels(encoded, size)
    # Antialiasing: photographs shrink about 3x here, and plain bilinear would skip most pixels.
    resized = tf.image.resize(pixels, [size, size], antialias=True)
    # Turned after the resize: a photograph of 12 million pixels takes 15 times as long before it.
    return _upright(tf.clip_by_value(resized, 0.0, 255.0), orientation)


def _pixels(encoded: tf.Tensor, size: int) -> tf.Tensor:
    """Decode, a large JPEG at a reduced scale: uint8 [height, width, 3]."""

    def jpeg() -> tf.Tensor:
        shape = tf.io.extract_jpeg_shape(encoded)
        shorter = tf.minimum(shape[0], shape[1])
        least = max(_SPARE * size, _LEAST_SIDE)
        fitting = [tf.cast(shorter // ratio >= least, tf.int32) for ratio in _RATIOS[1:]]
        branches = [
            functools.partial(tf.io.decode_jpeg, encoded, channels=3, ratio=ratio)
            for ratio in _RATIOS
        ]
        return tf.switch_case(tf.add_n(fitting), branches)

    pixels = tf.cond(tf.io.is_jpeg(encoded), jpeg, lambda: tf.io.decode_png(encoded, channels=3))
    pixels.set_shape([None, None, 3])
    return pixels


def _upright(square: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turn a square [size, size, 3] upright."""

    def turned(transpose: bool, reverse_rows: bool, reverse_columns: bool) -> tf.Tensor:
        turned = tf.transpose(square, [1, 0, 2]) if transpose else square
        axes = [axis for axis, reverse in enumerate((reverse_rows, reverse_columns)) if reverse]
        return tf.reverse(turned, axes) if axes else tf.identity(turned)

    branches = [functools.partial(turned, *turn) for turn in _TURNS.values()]
    return tf.switch_case(tf.cast(orientation, tf.int32) - 1, branches)
