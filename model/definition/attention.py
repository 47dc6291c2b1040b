"""Soft attention over the locations of an image (Xu et al. 2015, "Show, Attend and Tell", eq. 4-6).

The state and the location go through one tanh together, so the state can change which location
wins. A scalar of the state that is added after the tanh would cancel in the softmax, and the
attention would never move.
"""

import keras
import tensorflow as tf

from model.definition.precision import matmul


class SoftAttention(keras.layers.Layer):
    """Attention that scores every location with a small network of the location and the state.

        e_l     = v . tanh(W a'_l + b + U h)
        alpha   = softmax over l of e
        context = sum over l of alpha_l a'_l

    Attributes:
        memory_kernel: W, [D', A].
        memory_bias: b, [A].
        query_kernel: U, [units, A].
        score_kernel: v, [A, 1].
    """

    def __init__(self, depth: int, state_units: int, attention_units: int, precision: str):
        super().__init__(name="attention")
        self.precision = precision
        self.memory_kernel = self.add_weight(
            (depth, attention_units), "glorot_uniform", name="memory_kernel"
        )
        self.memory_bias = self.add_weight((attention_units,), "zeros", name="memory_bias")
        self.query_kernel = self.add_weight(
            (state_units, attention_units), "glorot_uniform", name="query_kernel"
        )
        self.score_kernel = self.add_weight(
            (attention_units, 1), "glorot_uniform", name="score_kernel"
        )
        self.built = True

    @property
    def dense_kernels(self) -> list[keras.Variable]:
        """The kernels that L2 applies to."""
        return [self.memory_kernel, self.query_kernel, self.score_kernel]

    def keys(self, values: tf.Tensor) -> tf.Tensor:
        """Return W a' + b, computed once per image: [B, L, D'] -> [B, L, A]."""
        return matmul(values, self.memory_kernel, self.precision) + self.memory_bias

    def call(self, h: tf.Tensor, keys: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Look at the image once.

        Call arguments:
            h: [B, N, U] float32, the LSTM's output for N captions of each image.
            keys: [B, L, A] float32, from `keys`.
            values: [B, L, D'] float32, shared by an image's captions.

        Returns:
            The context [B, N, D'] and alpha [B, N, L], both float32.
        """
        query = matmul(h, self.query_kernel, self.precision)
        alpha = attend(query, keys, tf.convert_to_tensor(self.score_kernel)[:, 0])
        return tf.matmul(alpha, values), alpha


@tf.function(autograph=False, jit_compile=True)
def attend(query: tf.Tensor, keys: tf.Tensor, score: tf.Tensor) -> tf.Tensor:
    """Return the softmax over l of score . tanh(keys_l + query).

    Args:
        query: [B, N, A] float32.
        keys: [B, L, A] float32.
        score: [A] float32, v.

    Returns:
        alpha, [B, N, L] float32.
    """
    energy = tf.tanh(keys[:, None] + query[:, :, None])  # [B, N, L, A]
    # Not linalg.matvec: TensorFlow 2.21 crashes on it on CPUs when N is 1.
    return tf.nn.softmax(tf.tensordot(energy, score, 1))


def entropy(attention: tf.Tensor) -> tf.Tensor:
    """Return how widely each word looked, in nats: [..., L] -> [...].

    It is 0 when all attention is on one location, and log L when it is spread evenly.
    """
    # The floor keeps the gradient of 0 log 0 finite.
    return -tf.reduce_sum(attention * tf.math.log(tf.maximum(attention, 1e-30)), -1)


def temporal_variance(attention: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    """Return how far a caption's attention moves from word to word.

    This is the variance of alpha over the caption's words, summed over the locations. It is 0 when
    the attention is the same at every word.

    Args:
        attention: [..., T, L] float32.
        real: [..., T] bool, the words that count. A caption without any gives 0.

    Returns:
        [...] float32, at most 1.
    """
    real = tf.cast(real, tf.float32)[..., None]
    words = tf.maximum(tf.reduce_sum(real, -2, keepdims=True), 1.0)
    mean = tf.reduce_sum(attention * real, -2, keepdims=True) / words
    squares = tf.reduce_sum(tf.square(attention - mean) * real, -2, keepdims=True) / words
    return tf.reduce_sum(squares, [-2, -1])
