"""How the fast recurrence lays out the states of captions: rows, slots and images.

A row is the state of one caption at one word. A slot is one caption place n at one word t, held
for all B images of the batch; so n slots are n B rows, in the order (slot, image).
"""

import tensorflow as tf


def slots(rows: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Return rows [n B, X] by slot: [n, B, X]."""
    return tf.reshape(rows, [-1, images, rows.shape[1] or tf.shape(rows)[1]])


def by_row(x: tf.Tensor) -> tf.Tensor:
    """Return [B, n, X] as rows [n B, X]."""
    return tf.reshape(tf.transpose(x, [1, 0, 2]), [-1, tf.shape(x)[2]])


def by_image(rows: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Return rows [n B, X] by image: [B, n, X]."""
    return tf.transpose(slots(rows, images), [1, 0, 2])


def flat(x: tf.Tensor, axes: int) -> tf.Tensor:
    """Return x with its first `axes` axes joined into one."""
    return tf.reshape(x, tf.concat([[-1], tf.shape(x)[axes:]], 0))


def padded(x: tf.Tensor, multiple: int | tf.Tensor) -> tf.Tensor:
    """Return x with zeros appended, so that its first axis is a multiple of `multiple`."""
    missing = -tf.shape(x)[0] % multiple
    return tf.pad(x, [[0, missing], *[[0, 0]] * (len(x.shape) - 1)])
