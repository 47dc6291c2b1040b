"""The LSTM's cell (Hochreiter and Schmidhuber 1997), with a forget gate and Keras' gate order."""

from typing import NamedTuple

import tensorflow as tf


class State(NamedTuple):
    """The LSTM's state for N captions (or K beams) of each image."""

    h: tf.Tensor  # [B, N, U] float32
    c: tf.Tensor  # [B, N, U] float32


def lstm_cell(gates: tf.Tensor, c: tf.Tensor | float) -> State:
    """Return the state after a word.

    Args:
        gates: [B, N, 4U] float32, before their activation: i, f, candidate, o.
        c: [B, N, U] float32, before the word; 0.0 before the first input.
    """
    i, f, candidate, o = tf.split(gates, 4, -1)
    c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(candidate)
    return State(tf.sigmoid(o) * tf.tanh(c), c)


def forget_bias_one(shape: tuple[int], dtype: str | None = None) -> tf.Tensor:
    """Return zeros, and ones for the forget gate (Jozefowicz et al. 2015)."""
    units = shape[0] // 4
    return tf.concat([tf.zeros(units), tf.ones(units), tf.zeros(2 * units)], 0)
