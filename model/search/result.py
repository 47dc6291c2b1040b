"""What every search returns, and how it is put together word by word."""

from typing import NamedTuple

import tensorflow as tf


class SearchResult(NamedTuple):
    """N captions of each of B images; T is the number of words of the longest."""

    ids: tf.Tensor  # [B, N, T] int32: words, then `end`, then 0
    log_probabilities: tf.Tensor  # [B, N, T] float32: of each word and of `end`, then 0
    score: tf.Tensor  # [B, N] float32: what the search ranks by
    attention: tf.Tensor  # [B, N, T, L] float32: where each word looked, then 0


def put(history: tf.Tensor, t: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Return the history [B, N, T] with the values [B, N] at place t."""
    return tf.where(tf.range(history.shape[-1]) == t, values[..., None], history)


def stack_first(array: tf.TensorArray, length: tf.Tensor) -> tf.Tensor:
    """Return the first `length` elements, each [B, N, ...], as [B, N, length, ...]."""
    # The other elements were never written, so stack() would not know their shape.
    elements = array.gather(tf.range(length))
    return tf.transpose(elements, [1, 2, 0, *range(3, len(elements.shape))])
