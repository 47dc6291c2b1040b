"""Where bfloat16 is used: in the inputs of matrix products, and nowhere else.

Weights, sums, softmax, cell state and gradients stay float32.
"""

import keras
import tensorflow as tf

DTYPES = {"float32": tf.float32, "bfloat16": tf.bfloat16}
PRECISIONS = tuple(DTYPES)


def matmul(x: tf.Tensor, kernel: tf.Tensor | keras.Variable, precision: str) -> tf.Tensor:
    """Return x [..., I] times kernel [I, O], multiplied in `precision`: float32 [..., O]."""
    kernel = tf.convert_to_tensor(kernel)
    if precision == "bfloat16":
        x = tf.cast(x, tf.float32)  # casting float16 straight to bfloat16 is twice as slow on CPUs
        product = tf.tensordot(tf.cast(x, tf.bfloat16), tf.cast(kernel, tf.bfloat16), 1)
        return tf.cast(product, tf.float32)
    return tf.tensordot(tf.cast(x, tf.float32), kernel, 1)
