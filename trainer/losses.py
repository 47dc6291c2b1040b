"""The objective: cross-entropy per word, the doubly stochastic penalty, the attention's entropy and
L2."""

from collections.abc import Iterable
from typing import NamedTuple

import keras
import tensorflow as tf

from model.definition.attention import entropy
from model.definition.forcing import ForcingResult


class Whole(NamedTuple):
    """The batch that images are a part of, when several replicas share it."""

    words: tf.Tensor  # real words in all of it, float32
    captions: tf.Tensor  # float32
    parts: int


class Losses(NamedTuple):
    """Scalars, float32."""

    total: tf.Tensor  # what is minimised
    cross_entropy: tf.Tensor  # nats per word, unsmoothed: its exp is the perplexity
    doubly_stochastic: tf.Tensor  # before its weight
    l2: tf.Tensor  # before its weight
    attention_entropy: tf.Tensor  # nats, mean over words: log L is attention that never chose


def mean(values: tf.Tensor, real: tf.Tensor, count: tf.Tensor | None = None) -> tf.Tensor:
    """Mean of the values where `real`, both of the same shape.

    Nothing here selects by a mask: XLA knows no shape that depends on values.

    Call arguments:
        count: what the sum is divided by; None: the real ones.
    """
    real = tf.cast(real, tf.float32)
    return tf.reduce_sum(values * real) / (tf.reduce_sum(real) if count is None else count)


def doubly_stochastic(
    attention: tf.Tensor, real: tf.Tensor, count: tf.Tensor | None = None
) -> tf.Tensor:
    """Mean over captions of sum_l (1 - sum over real t of alpha_tl)^2 (Xu et al. 2015, eq. 14).

    Call arguments:
        attention: [T, B, N, L]. real: [T, B, N] bool; a caption with no real word is padding.
        count: of the captions, as for `mean`.
    """
    looked = tf.reduce_sum(tf.where(real[..., None], attention, 0.0), 0)  # [B, N, L]
    penalty = tf.reduce_sum(tf.square(1.0 - looked), -1)  # [B, N]
    return mean(penalty, tf.reduce_any(real, 0), count)


def l2(kernels: Iterable[keras.Variable]) -> tf.Tensor:
    """Sum of squares."""
    return 2.0 * tf.add_n([tf.nn.l2_loss(tf.convert_to_tensor(k)) for k in kernels])


def objective(
    forced: ForcingResult,
    kernels: Iterable[keras.Variable],
    *,
    l2_weight: float,
    doubly_stochastic_weight: float,
    attention_entropy_weight: float = 0.0,
    whole: Whole | None = None,
) -> Losses:
    """All of it, for one batch. L2 carries no gradient here: `trainer.optimizer` adds it.

    Call arguments:
        attention_entropy_weight: makes a word look at few places: a state that remembers what an
            earlier word saw has no other reason to look anywhere.
        whole: the batch that this is a part of: the parts' scalars, and their gradients, sum up to
            the whole's. None: this is all.
    """
    words, captions, parts = whole or (None, None, 1)
    penalty = doubly_stochastic(forced.attention, forced.real, captions)
    squares = tf.stop_gradient(l2(kernels)) / parts
    total = mean(forced.losses, forced.real, words)
    attention_entropy = mean(entropy(forced.attention), forced.real, words)
    total += doubly_stochastic_weight * penalty + l2_weight * squares
    if attention_entropy_weight:
        total += attention_entropy_weight * attention_entropy
    cross_entropy = mean(forced.nll, forced.real, words)
    return Losses(total, cross_entropy, penalty, squares, attention_entropy)
