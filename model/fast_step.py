"""`Decoder.step` as search runs it: the same numbers from weights that are laid out once.

A step of search is a few matrix products of few rows. So a word's way into the gates and into the
deep output is a row of a table made beforehand, kernels that take the same input are one, and none
is cast to bfloat16 again at every word.
"""

from typing import NamedTuple

import tensorflow as tf

from model.attention import attend
from model.decoder import Decoder, Memory, State


class Weights(NamedTuple):
    """A decoder's weights as they were when laid out; kernels in the precision of its products."""

    words: tf.Tensor  # [V, 4U + E] float32: E w W_x + b and E w W_e + b_h, for every word
    state: tf.Tensor  # [U, 4U + A + D']: LSTM gates, query, gate of the context
    context: tf.Tensor  # [D', 4U + E]: LSTM gates, deep output
    score: tf.Tensor  # [A] float32: v
    gate_bias: tf.Tensor | None  # [D'] float32; None: no gate, and no D' above
    deep: tf.Tensor | None  # [U, E]; None: no deep output, and no E above
    logits: tf.Tensor  # [E, V] or [U, V]
    logits_bias: tf.Tensor  # [V] float32


def lay_out(decoder: Decoder) -> Weights:
    """Copies of a decoder's weights."""
    dtype = tf.bfloat16 if decoder.config.precision == "bfloat16" else tf.float32
    gated, deep = decoder.config.gate, decoder.config.deep_output

    def joined(*kernels):
        return tf.concat([tf.cast(kernel, dtype) for kernel in kernels], 1)

    of_words = joined(decoder.word_kernel, *([decoder.output_word[0]] if deep else []))
    biases = [decoder.lstm_bias, *([decoder.output_h[1]] if deep else [])]
    return Weights(
        words=_product(decoder.embedding, of_words) + tf.concat(biases, 0),
        state=joined(
            decoder.recurrent_kernel,
            decoder.attention.query_kernel,
            *([decoder.gate[0]] if gated else []),
        ),
        context=joined(decoder.context_kernel, *([decoder.output_context[0]] if deep else [])),
        score=tf.identity(decoder.attention.score_kernel[:, 0]),
        gate_bias=tf.identity(decoder.gate[1]) if gated else None,
        deep=joined(decoder.output_h[0]) if deep else None,
        logits=joined(decoder.output_logits[0]),
        logits_bias=tf.identity(decoder.output_logits[1]),
    )


def step(
    weights: Weights, memory: Memory, tokens: tf.Tensor, state: State
) -> tuple[tf.Tensor, State, tf.Tensor]:
    """As `Decoder.step`: ids [B, N] -> logits [B, N, V], new state, alpha [B, N, L]."""
    gates = 4 * state.h.shape[-1]
    words, deep_words = tf.split(tf.gather(weights.words, tokens), [gates, -1], -1)
    recurrent, query, beta = tf.split(
        _product(state.h, weights.state), [gates, weights.score.shape[0], -1], -1
    )
    alpha = attend(query, memory.keys, weights.score)
    z = tf.matmul(alpha, memory.values)
    if weights.gate_bias is not None:
        z *= tf.sigmoid(beta + weights.gate_bias)
    context, deep_context = tf.split(_product(z, weights.context), [gates, -1], -1)
    state = State(*_cell(words, context, recurrent, state.c))
    deep = state.h
    if weights.deep is not None:
        deep = tf.tanh(_product(deep, weights.deep) + deep_words + deep_context)
    return _product(deep, weights.logits) + weights.logits_bias, state, alpha


def _product(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """x [..., I] times kernel [I, O], in the kernel's precision -> float32 [..., O]."""
    return tf.cast(tf.tensordot(tf.cast(x, kernel.dtype), kernel, 1), tf.float32)


@tf.function(autograph=False, jit_compile=True)
def _cell(
    words: tf.Tensor, context: tf.Tensor, recurrent: tf.Tensor, c: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The LSTM's new h and c [B, N, U] from the three parts of its gates [B, N, 4U]."""
    i, f, candidate, o = tf.split(words + context + recurrent, 4, -1)  # Keras' order
    c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(candidate)
    return tf.sigmoid(o) * tf.tanh(c), c
