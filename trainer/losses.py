"""The objective: cross-entropy per word and the weighted penalties."""

from collections.abc import Iterable
from typing import NamedTuple

import keras
import tensorflow as tf

from model.definition.attention import entropy
from model.definition.forcing import ForcingResult


class BatchTotals(NamedTuple):
    """Totals of a batch that is computed in shares: by several replicas, or in pieces."""

    words: tf.Tensor  # real words of all shares, float32
    captions: tf.Tensor  # captions of all shares, float32
    shares: int | tf.Tensor  # how many there are


class Losses(NamedTuple):
    """The objective and its terms, float32 scalars."""

    total: tf.Tensor  # what is minimised
    cross_entropy: tf.Tensor  # nats per word, unsmoothed: its exp is the perplexity
    doubly_stochastic: tf.Tensor  # before its weight
    l2: tf.Tensor  # before its weight
    attention_entropy: tf.Tensor  # nats, mean over words; log L: attention without a preference

    def scalars(self, attends: bool) -> dict[str, tf.Tensor]:
        """Return name -> value, as logged.

        Args:
            attends: Whether the decoder has an attention; else its terms mean nothing and are left
                out.
        """
        meaningless = () if attends else ("doubly_stochastic", "attention_entropy")
        return {name: loss for name, loss in self._asdict().items() if name not in meaningless}


def mean(values: tf.Tensor, real: tf.Tensor, count: tf.Tensor | None = None) -> tf.Tensor:
    """Return the mean of the values where `real`.

    Nothing here selects by a mask, because XLA cannot compile a shape that depends on values.

    Args:
        values: Float32 of any shape.
        real: Bool of the same shape.
        count: What the sum is divided by; None: the number of real ones.
    """
    real = tf.cast(real, tf.float32)
    return tf.reduce_sum(values * real) / (tf.reduce_sum(real) if count is None else count)


def doubly_stochastic(
    attention: tf.Tensor, real: tf.Tensor, count: tf.Tensor | None = None
) -> tf.Tensor:
    """Return the mean over captions of sum_l (1 - sum over real t of alpha_tl)^2.

    It is the penalty of Xu et al. 2015, equation 14.

    Args:
        attention: [T, B, N, L] float32.
        real: [T, B, N] bool; a caption without a real word is padding.
        count: The number of captions, as for `mean`.
    """
    looked = tf.reduce_sum(tf.where(real[..., None], attention, 0.0), 0)  # [B, N, L]
    penalty = tf.reduce_sum(tf.square(1.0 - looked), -1)  # [B, N]
    return mean(penalty, tf.reduce_any(real, 0), count)


def l2(kernels: Iterable[keras.Variable]) -> tf.Tensor:
    """Return the sum of squares of all kernels."""
    return 2.0 * tf.add_n([tf.nn.l2_loss(tf.convert_to_tensor(k)) for k in kernels])


def objective(
    forced: ForcingResult,
    kernels: Iterable[keras.Variable],
    *,
    l2_weight: float,
    doubly_stochastic_weight: float,
    attention_entropy_weight: float = 0.0,
    attention_entropy_floor: float = 0.0,
    totals: BatchTotals | None = None,
    advantages: tf.Tensor | None = None,
) -> Losses:
    """Compute all losses of one batch, or of a share of one.

    L2 carries no gradient here: `trainer.optimizer` adds it.

    Args:
        forced: What teacher forcing gave for the batch.
        kernels: The weights that L2 applies to.
        l2_weight: Weight of L2 in the total.
        doubly_stochastic_weight: Weight of the doubly stochastic penalty in the total.
        attention_entropy_weight: Weight of the attention entropy in the total. It makes a word look
            at few places: a state that remembers what an earlier word saw has no other reason to
            look anywhere.
        attention_entropy_floor: Nats of a word's attention that the weight spares. Without it a
            weight that makes words look where they would not makes them stare at single places.
        totals: Totals of the batch when this is one share of it: the scalars of all
            shares, and their gradients, then sum up to those of the batch. None: this is all of it.
        advantages: [B, N] float32, of sampled captions: their loss is then the mean over captions
            of the advantage times the sum of the words' losses. Its gradient is that of the mean
            reward, negated. None: the loss is the mean over words.
    """
    words, captions, shares = totals or (None, None, 1)
    penalty = doubly_stochastic(forced.attention, forced.real, captions)
    squares = tf.stop_gradient(l2(kernels)) / shares
    if advantages is None:
        total = mean(forced.losses, forced.real, words)
    else:
        of_caption = tf.reduce_sum(tf.where(forced.real, forced.losses, 0.0), 0)  # [B, N]
        total = mean(advantages * of_caption, tf.reduce_any(forced.real, 0), captions)
    entropies = entropy(forced.attention)
    attention_entropy = mean(entropies, forced.real, words)
    total += doubly_stochastic_weight * penalty + l2_weight * squares
    if attention_entropy_weight:
        excess = attention_entropy
        if attention_entropy_floor:
            excess = mean(tf.nn.relu(entropies - attention_entropy_floor), forced.real, words)
        total += attention_entropy_weight * excess
    cross_entropy = mean(forced.nll, forced.real, words)
    return Losses(total, cross_entropy, penalty, squares, attention_entropy)
