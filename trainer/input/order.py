"""The order of training: which images an epoch's batches are made of.

It is a function of (seed, epoch) alone, so nothing about it is ever saved: a run resumes by
skipping the batches that are done, and what is skipped is not decoded.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from trainer.input.reading import PARALLEL_CALLS

# Batches whose captions are sorted by length together: a longer window pads less.
_LENGTH_WINDOW = 32
ALL_IMAGES = slice(None)


class Batch(NamedTuple):
    """B images and their captions."""

    inputs: tf.Tensor  # images [B, size, size, 3] float32 in 0..255, or features [B, L, D] float16
    ids: tf.Tensor  # [B, N, T] int32, padded with 0
    image_ids: tf.Tensor  # [B] int64; of all images of the batch, where several workers share it


def epoch(
    elements: tf.data.Dataset,
    load: Callable[[Any], tf.Tensor],
    *,
    window: int,
    batch_size: int,
    seed: int,
    skip: int = 0,
    share: slice = ALL_IMAGES,
) -> tf.data.Dataset:
    """Make the batches of one epoch: shuffled, each of captions of like length.

    An image's captions come the longest first, so that finished ones leave the batch together.

    Args:
        elements: (key, ids [N, T], image id) of each image. The key is a scalar, or a tuple of
            scalars; `load` knows what it stands for.
        load: Makes images [B, size, size, 3] or features [B, L, D] of keys [B].
        window: Elements that are shuffled together.
        batch_size: B.
        seed: Seed of the order, another one for each epoch.
        skip: Batches at the start to leave out.
        share: This worker's images of each batch; the last batch may have none of them.

    Returns:
        A data set of ceil(elements / batch_size) - skip `Batch`es.
    """

    def by_length(number: tf.Tensor, group: tuple[Any, ...]) -> tuple[Any, ...]:
        keys, ids, image_ids = group
        order = _length_order(ids, batch_size, tf.stack([tf.cast(seed, tf.int64), number]))
        ids = _longest_first(tf.gather(ids, order))
        keys = tf.nest.map_structure(lambda key: tf.gather(key, order), keys)
        return keys, ids, tf.gather(image_ids, order)

    def loaded(keys: Any, ids: tf.Tensor, image_ids: tf.Tensor) -> Batch:
        own = tf.nest.map_structure(lambda key: key[share], keys)
        return Batch(load(own), ids[share], image_ids)

    return (
        elements.shuffle(window, seed=seed, reshuffle_each_iteration=False)
        .padded_batch(batch_size * _LENGTH_WINDOW, padded_shapes=_shapes(elements))
        .enumerate()
        .map(by_length)
        .rebatch(batch_size)
        .map(_trim)
        .skip(skip)
        .map(loaded, num_parallel_calls=PARALLEL_CALLS, deterministic=True)
        .prefetch(2)
    )


def _shapes(elements: tf.data.Dataset) -> tuple[Any, ...]:
    """Return the shapes of elements to pad to: keys and image ids are scalars."""
    keys, _, _ = elements.element_spec
    return tf.nest.map_structure(lambda _: tf.TensorShape([]), keys), [None, None], []


def _length_order(ids: tf.Tensor, batch_size: int, seed: tf.Tensor) -> tf.Tensor:
    """Return indices that put images of like longest caption side by side, the batches shuffled.

    A last batch that is not full stays last, so that cutting by `batch_size` finds the batches.
    """
    longest = tf.reduce_max(tf.reduce_sum(tf.cast(ids != 0, tf.int32), -1), -1)  # [images]
    order = tf.argsort(longest, stable=True)
    full = tf.shape(order)[0] // batch_size
    batches = tf.reshape(order[: full * batch_size], [full, batch_size])
    batches = tf.random.experimental.stateless_shuffle(batches, seed)
    return tf.concat([tf.reshape(batches, [-1]), order[full * batch_size :]], 0)


def _longest_first(ids: tf.Tensor) -> tf.Tensor:
    """Sort the captions of each image by length: [images, N, T] -> the same shape."""
    lengths = tf.reduce_sum(tf.cast(ids != 0, tf.int32), -1)
    return tf.gather(ids, tf.argsort(lengths, -1, "DESCENDING", stable=True), batch_dims=1)


def _trim(keys: Any, ids: tf.Tensor, image_ids: tf.Tensor) -> tuple[Any, ...]:
    """Cut off the padding that a batch keeps from the longer window it was sorted in."""
    captions = tf.reduce_sum(tf.cast(tf.reduce_any(ids != 0, [0, 2]), tf.int32))
    words = tf.reduce_sum(tf.cast(tf.reduce_any(ids != 0, [0, 1]), tf.int32))
    return keys, ids[:, :captions, :words], image_ids
