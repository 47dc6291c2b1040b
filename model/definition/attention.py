"""Where a word looks: the attentions that `--attention` chooses from.

- `SoftAttention` moves: the LSTM's state decides at every word which locations count.
- `StaticAttention` weighs the locations once per image, the same for every word.
- `NoAttention` shows the words nothing. The image then enters by its vector alone
  (`model/definition/image_input.py`).

Each has `context_depth`, `keys` (once per image) and `call` (at every word).
"""

import keras
import tensorflow as tf

from model.compiled import compiled
from model.definition.precision import matmul


class _ScoringAttention(keras.layers.Layer):
    """What `SoftAttention` and `StaticAttention` share: a layer over each location, W a'_l + b."""

    def __init__(self, depth: int, attention_units: int, precision: str):
        super().__init__(name="attention")
        self.precision, self.context_depth = precision, depth
        self.memory_kernel = self.add_weight(
            (depth, attention_units), "glorot_uniform", name="memory_kernel"
        )
        self.memory_bias = self.add_weight((attention_units,), "zeros", name="memory_bias")

    def hidden(self, values: tf.Tensor) -> tf.Tensor:
        """Return W a' + b: [B, L, D'] -> [B, L, A]."""
        return matmul(values, self.memory_kernel, self.precision) + self.memory_bias


class SoftAttention(_ScoringAttention):
    """Soft attention (Xu et al. 2015, "Show, Attend and Tell", eq. 4-6).

        e_l     = v . tanh(W a'_l + b + U h)
        alpha   = softmax over l of e
        context = sum over l of alpha_l a'_l

    The state and the location go through one tanh together, so the state can change which location
    wins.

    Attributes:
        context_depth: D', the depth of the context.
        memory_kernel: W, [D', A].
        memory_bias: b, [A].
        query_kernel: U, [units, A].
        score_kernel: v, [A, 1].
    """

    def __init__(self, depth: int, state_units: int, attention_units: int, precision: str):
        super().__init__(depth, attention_units, precision)
        self.query_kernel = self.add_weight(
            (state_units, attention_units), "glorot_uniform", name="query_kernel"
        )
        self.score_kernel = self.add_weight(
            (attention_units, 1), "glorot_uniform", name="score_kernel"
        )
        self.built = True

    def keys(self, values: tf.Tensor) -> tf.Tensor:
        """Return W a' + b, computed once per image: [B, L, D'] -> [B, L, A]."""
        return self.hidden(values)

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


class StaticAttention(_ScoringAttention):
    """Attention that does not depend on the state.

        e_l     = v . tanh(W a'_l + b)
        alpha   = softmax over l of e
        context = sum over l of alpha_l a'_l

    An earlier system added a scalar of the state, u . h, to every e_l. The softmax cancels what is
    added to all locations alike: alpha does not depend on h, and u gets no gradient. Therefore u is
    left out here, and alpha is computed once per image.

    Attributes:
        context_depth: D', the depth of the context.
        memory_kernel: W, [D', A].
        memory_bias: b, [A].
        score_kernel: v, [A, 1].
    """

    def __init__(self, depth: int, state_units: int, attention_units: int, precision: str):
        super().__init__(depth, attention_units, precision)
        self.score_kernel = self.add_weight(
            (attention_units, 1), "glorot_uniform", name="score_kernel"
        )
        self.built = True

    def keys(self, values: tf.Tensor) -> tf.Tensor:
        """Return alpha: [B, L, D'] -> [B, L, 1]."""
        energy = tf.tensordot(
            tf.tanh(self.hidden(values)), tf.convert_to_tensor(self.score_kernel), 1
        )
        return tf.nn.softmax(energy, 1)

    def call(self, h: tf.Tensor, keys: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Look at the image once.

        Call arguments:
            h: [B, N, U]; only N counts.
            keys: [B, L, 1] float32, from `keys`.
            values: [B, L, D'] float32, shared by an image's captions.

        Returns:
            The context [B, N, D'] and alpha [B, N, L], both float32.
        """
        alpha = same_at_every_word(keys, h)
        return tf.matmul(alpha, values), alpha


class NoAttention(keras.layers.Layer):
    """No attention: neither the LSTM nor the output sees the image at a word.

    Attributes:
        context_depth: 0.
    """

    def __init__(self, depth: int, state_units: int, attention_units: int, precision: str):
        super().__init__(name="attention")
        self.context_depth = 0
        self.built = True

    def keys(self, values: tf.Tensor) -> tf.Tensor:
        """Return an even alpha: [B, L, D'] -> [B, L, 1]."""
        even = tf.ones_like(values[..., :1])
        return even / tf.cast(tf.shape(values)[1], tf.float32)

    def call(self, h: tf.Tensor, keys: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Look at nothing.

        Call arguments:
            h: [B, N, U]; only N counts.
            keys: [B, L, 1] float32, from `keys`.
            values: [B, L, D'] float32; not used.

        Returns:
            A context without numbers [B, N, 0], and an alpha [B, N, L] that is even.
        """
        return h[..., :0], same_at_every_word(keys, h)


Attention = SoftAttention | StaticAttention | NoAttention
ATTENTIONS: dict[str, type[Attention]] = {
    "soft": SoftAttention,
    "static": StaticAttention,
    "none": NoAttention,
}


def same_at_every_word(keys: tf.Tensor, h: tf.Tensor) -> tf.Tensor:
    """Return the alpha of an attention that does not move.

    Args:
        keys: [B, L, 1] float32, alpha once per image.
        h: [B, N, ...] of any float type; only N counts.

    Returns:
        alpha, [B, N, L] float32.
    """
    # Not tf.repeat: XLA cannot compile its gradient inside a loop.
    return tf.transpose(keys, [0, 2, 1]) + tf.zeros_like(h[..., :1], tf.float32)


@compiled
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
