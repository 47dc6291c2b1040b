"""Functions of batches, traced once."""

from collections.abc import Callable

import tensorflow as tf


def any_batch(function: Callable) -> Callable:
    """`function` compiled into one graph for all sizes of a batch.

    `reduce_retracing` alone would trace the first batch's sizes, and trace again for the next.

    Call arguments:
        function: of (inputs [B, ...] of any float type, ids [B, N, T]), or of inputs alone.
    """
    compiled = tf.function(function, autograph=False)

    def call(inputs: tf.Tensor, *ids: tf.Tensor):
        sizes = [tf.TensorSpec([None, *inputs.shape[1:]], inputs.dtype)]
        sizes += [tf.TensorSpec([None, None, None], each.dtype) for each in ids]
        return compiled.get_concrete_function(*sizes)(inputs, *ids)

    return call
