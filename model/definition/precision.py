"""Where bfloat16 is used: the inputs of matrix products, and nowhere else.

Weights, sums, softmax, cell state and gradients stay float32.
"""

import tensorflow as tf

PRECISIONS = ("float32", "bfloat16")


def matmul(x: tf.Tensor, kernel, precision: str) -> tf.Tensor:
    """x [..., I] times kernel [I, O] -> float32 [..., O], multiplied in `precision`."""
    kernel = tf.convert_to_tensor(kernel)
    if precision == "bfloat16":
        x = tf.cast(x, tf.float32)  # from float16 straight to bfloat16 takes twice as long on CPUs
        product = tf.tensordot(tf.cast(x, tf.bfloat16), tf.cast(kernel, tf.bfloat16), 1)
        return tf.cast(product, tf.float32)
    return tf.tensordot(tf.cast(x, tf.float32), kernel, 1)
