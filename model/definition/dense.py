"""A product with a kernel, and its bias: the part that the decoder is made of."""

from typing import NamedTuple

import keras
import tensorflow as tf

from model.definition.precision import matmul


class Dense(NamedTuple):
    """The weights of x W + b."""

    kernel: keras.Variable  # W, [I, O]
    bias: keras.Variable | None  # b, [O]; None: no bias


def affine(dense: Dense, x: tf.Tensor, precision: str) -> tf.Tensor:
    """Return x W + b, multiplied in `precision`: [..., I] -> [..., O] float32."""
    product = matmul(x, dense.kernel, precision)
    return product if dense.bias is None else product + dense.bias
