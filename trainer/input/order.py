"""The order of training: which images an epoch's batches are made of.

It is a function of (seed, epoch) alone: skipping `step` batches resumes it, and decodes nothing of
what it skips. Nothing of it is ever saved.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from trainer.input.reading import PARALLEL

# Batches whose captions are sorted by length together: a longer window pads less.
_LENGTH_WINDOW = 32


class Batch(NamedTuple):
    """B images and their captions."""

    inputs: tf.Tensor  # images [B, size, size, 3] float32 in 0..255, or features [B, L, D] float16
    ids: tf.Tensor  # [B, N, T] int32, padded with 0
    image_ids: tf.Tensor  # [B] int64; of the whole batch, where several workers share it


def epoch(
    elements: tf.data.Dataset,
    load: Callable[[tf.Tensor], tf.Tensor],
    *,
    window: int,
    batch_size: int,
    seed: int,
    skip: int = 0,
    share: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """One epoch of training batches: shuffled, of like length, the first `skip` left out.

    An image's captions come the longest first: finished ones then leave the batch together.

    Call arguments:
        elements: (key, ids [N, T], image id): the key is what `load` makes an image or features of.
        load: keys [B] -> images [B, size, size, 3] or features [B, L, D].
        window: elements that are shuffled together.
        seed: of the order, another for each epoch.
        share: (w, W): image w, w + W, ... of each batch; all of them for (0, 1), of the last batch
            perhaps none.

    Returns: ceil(elements / batch_size) batches.
    """
    together = batch_size * _LENGTH_WINDOW
    worker, workers = share

    def by_length(number, group):
        keys, ids, image_ids = group
        order = _length_order(ids, batch_size, tf.stack([tf.cast(seed, tf.int64), number]))
        ids = _longest_first(tf.gather(ids, order))
        return tf.gather(keys, order), ids, tf.gather(image_ids, order)

    def trim(keys, ids, image_ids):
        # The padding of the group that this batch was cut from.
        captions = tf.reduce_sum(tf.cast(tf.reduce_any(ids != 0, [0, 2]), tf.int32))
        words = tf.reduce_sum(tf.cast(tf.reduce_any(ids != 0, [0, 1]), tf.int32))
        return keys, ids[:, :captions, :words], image_ids

    return (
        elements.shuffle(window, seed=seed, reshuffle_each_iteration=False)
        .padded_batch(together, padded_shapes=([], [None, None], []))
        .enumerate()
        .map(by_length)
        .rebatch(batch_size)
        .map(trim)
        .skip(skip)
        .map(
            lambda keys, ids, image_ids: Batch(
                load(keys[worker::workers]), ids[worker::workers], image_ids
            ),
            num_parallel_calls=PARALLEL,
            deterministic=True,
        )
        .prefetch(2)
    )


def _length_order(ids: tf.Tensor, batch_size: int, seed: tf.Tensor) -> tf.Tensor:
    """Indices that put images of like longest caption side by side, the batches shuffled.

    A last batch that is not full stays last, so that cutting by `batch_size` finds the batches.
    """
    longest = tf.reduce_max(tf.reduce_sum(tf.cast(ids != 0, tf.int32), -1), -1)  # [images]
    order = tf.argsort(longest, stable=True)
    full = tf.shape(order)[0] // batch_size
    batches = tf.reshape(order[: full * batch_size], [full, batch_size])
    batches = tf.random.experimental.stateless_shuffle(batches, seed)
    return tf.concat([tf.reshape(batches, [-1]), order[full * batch_size :]], 0)


def _longest_first(ids: tf.Tensor) -> tf.Tensor:
    """The captions of each image in order of length: [images, N, T] -> the same shape."""
    lengths = tf.reduce_sum(tf.cast(ids != 0, tf.int32), -1)
    return tf.gather(ids, tf.argsort(lengths, -1, "DESCENDING", stable=True), batch_dims=1)
