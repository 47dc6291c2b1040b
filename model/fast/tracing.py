"""Functions of batches that TensorFlow traces once."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def any_batch(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function into one graph for batches of all sizes.

    `reduce_retracing` alone would trace once for the sizes of the first batch, and again for the
    next.

    Args:
        function: takes (inputs [B, ...] of any float type, ids [B, N, T]), or inputs alone.

    Returns:
        The compiled function, with the same arguments.
    """
    compiled = tf.function(function, autograph=False)

    def call(inputs: tf.Tensor, *ids: tf.Tensor) -> Any:
        sizes = [tf.TensorSpec([None, *inputs.shape[1:]], inputs.dtype)]
        sizes += [tf.TensorSpec([None, None, None], each.dtype) for each in ids]
        return compiled.get_concrete_function(*sizes)(inputs, *ids)

    return call
