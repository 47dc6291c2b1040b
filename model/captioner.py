"""Teacher forcing: all words of all captions of a batch, with everything that does not depend on
the state computed once.

Features are projected once per image and shared by its captions; words are embedded and multiplied
into the gates in one product; the vocabulary is reached after the loop, on real tokens only. The
loop itself (`_unroll`) is the one place for a faster recurrence.
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from model import search
from model.decoder import Decoder, DecoderConfig, Memory
from model.encoder import Encoder


class Forced(NamedTuple):
    """What teacher forcing gives; R is the number of real target tokens in the batch."""

    logits: tf.Tensor  # [R, V] float32
    targets: tf.Tensor  # [R] int32: the words that should have been said, <end> counted
    attention: tf.Tensor  # [T, B, N, L] float32
    real: tf.Tensor  # [T, B, N] bool: positions of the R tokens, in the order of `logits`


class Captioner(keras.Model):
    """Encoder and decoder."""

    def __init__(self, encoder: Encoder, config: DecoderConfig):
        super().__init__(name="captioner")
        self.encoder = encoder
        self.decoder = Decoder(config)
        self.built = True

    def forced(
        self, features: tf.Tensor, ids: tf.Tensor, dropout: float = 0.0, seed: tf.Tensor = (0, 0)
    ) -> Forced:
        """Logits of every word given the words before it.

        Call arguments:
            features: [B, L, D] of any float type.
            ids: [B, N, T + 1] int, `<start> ... <end>` then padding of 0.
            dropout: rate, on features, words and around the deep output; 0 in validation.
            seed: [2] int, of the dropout masks.
        """
        decoder = self.decoder
        tokens = tf.transpose(ids, [2, 0, 1])  # time first: [T + 1, B, N]
        tokens, targets = tokens[:-1], tokens[1:]
        real = targets != 0

        memory = decoder.memory(_drop(features, dropout, seed, 0))
        words = _drop(decoder.embed(tokens), dropout, seed, 1)  # [T, B, N, E]
        h, z, attention = _unroll(decoder, memory, decoder.word_gates(words))

        h = tf.boolean_mask(_drop(h, dropout, seed, 2), real)  # [R, U]
        z, words = tf.boolean_mask(z, real), tf.boolean_mask(words, real)
        deep = _drop(decoder.deep_output(h, z, words), dropout, seed, 3)
        return Forced(decoder.logits(deep), tf.boolean_mask(targets, real), attention, real)

    @tf.function(autograph=False, reduce_retracing=True)
    def greedy(
        self, features: tf.Tensor, start: int, end: int, banned: tuple[int, ...]
    ) -> search.Captions:
        """Compiled `search.greedy`: features [B, L, D] of any float type -> captions."""
        decoder = self.decoder
        memory = decoder.memory(features)
        return search.greedy(
            lambda tokens, state: decoder.step(tokens, state, memory),
            decoder.initial_state(memory, 1),
            tf.shape(features)[0],
            start=start,
            end=end,
            banned=banned,
        )


def _unroll(
    decoder: Decoder, memory: Memory, gates: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """All T words: gates [T, B, N, 4U] -> h [T, B, N, U], z [T, B, N, D'], alpha [T, B, N, L]."""
    length = tf.shape(gates)[0]
    # Read from an array: the gradient of `gates[t]` would be a tensor of all T words at each word.
    steps = tf.TensorArray(tf.float32, length).unstack(gates)
    outputs = tuple(tf.TensorArray(tf.float32, length) for _ in range(3))

    def body(t, state, outputs):
        state, z, alpha = decoder.recur(steps.read(t), state, memory)
        written = zip(outputs, (state.h, z, alpha), strict=True)
        return t + 1, state, tuple(array.write(t, value) for array, value in written)

    state = decoder.initial_state(memory, tf.shape(gates)[2])
    _, _, outputs = tf.while_loop(
        lambda t, *_: t < length, body, (0, state, outputs), maximum_iterations=length
    )
    return tuple(array.stack() for array in outputs)


def _drop(x: tf.Tensor, rate: float, seed: tf.Tensor, place: int) -> tf.Tensor:
    """Dropout whose mask is a function of (seed, place) alone, so that a step can be run again."""
    if not rate:
        return x
    return tf.nn.experimental.stateless_dropout(x, rate, tf.stack([seed[0], seed[1] * 4 + place]))
