"""`Decoder.step` as search runs it: the same numbers from weights that are laid out once.

A step of search is a few matrix products of few rows. So a word's way into the gates and into the
deep output is a row of a table made beforehand, kernels that take the same input are one, and none
is cast to bfloat16 again at every word.
"""

from typing import NamedTuple

import tensorflow as tf

from model.definition.attention import attend
from model.definition.decoder import Decoder, Memory, State


class Weights(NamedTuple):
    """A decoder's weights as they were when laid out; kernels in the precision of its products,
    and where that is bfloat16 as [O, I]."""

    words: tf.Tensor  # [V, 4U + E] float32: E w W_x + b and E w W_e + b_h, for every word
    state: tf.Tensor  # [U, A + D' + 4U]: query, gate of the context, LSTM gates
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
        kernel = tf.concat([tf.cast(kernel, dtype) for kernel in kernels], 1)
        return tf.transpose(kernel) if dtype == tf.bfloat16 else kernel

    of_words = joined(decoder.word_kernel, *([decoder.output_word[0]] if deep else []))
    biases = [decoder.lstm_bias, *([decoder.output_h[1]] if deep else [])]
    return Weights(
        words=_plus(_product(decoder.embedding, of_words), tf.concat(biases, 0)),
        state=joined(
            decoder.attention.query_kernel,
            *([decoder.gate[0]] if gated else []),
            decoder.recurrent_kernel,
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
    words = tf.gather(weights.words, tokens)
    of_state = _product(state.h, weights.state)
    alpha, gate = _look(of_state, memory.keys, weights.score, weights.gate_bias)
    z = tf.matmul(alpha, memory.values)
    of_context = _product(z if gate is None else z * gate, weights.context)
    state = State(*_cell(words, of_context, of_state, state.c))
    deep = state.h
    if weights.deep is not None:
        deep = _deep(_product(deep, weights.deep), words, of_context)
    return _plus(_product(deep, weights.logits), weights.logits_bias), state, alpha


def _product(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """x [..., I] times kernel, in the kernel's precision: [..., O].

    A bfloat16 kernel is laid out as [O, I] and multiplied from the left: on the right oneDNN would
    repack all of it for the few rows of a step.
    """
    if kernel.dtype != tf.bfloat16:
        return tf.tensordot(x, kernel, 1)
    rows = tf.cast(tf.reshape(x, [-1, x.shape[-1]]), tf.bfloat16)
    product = tf.transpose(tf.matmul(kernel, rows, transpose_b=True))
    return tf.reshape(product, tf.concat([tf.shape(x)[:-1], [kernel.shape[0]]], 0))


# Between the products: each is compiled to go over its numbers once. They take whole products, in
# whatever precision, and give float32.


@tf.function(autograph=False, jit_compile=True)
def _look(
    of_state: tf.Tensor, keys: tf.Tensor, score: tf.Tensor, gate_bias: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """alpha [B, N, L], and the gate of the context [B, N, D'] where there is one."""
    units = score.shape[0]
    alpha = attend(tf.cast(of_state[..., :units], tf.float32), keys, score)
    if gate_bias is None:
        return alpha, None
    beta = of_state[..., units : units + gate_bias.shape[0]]
    return alpha, tf.sigmoid(tf.cast(beta, tf.float32) + gate_bias)


@tf.function(autograph=False, jit_compile=True)
def _cell(
    words: tf.Tensor, of_context: tf.Tensor, of_state: tf.Tensor, c: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The LSTM's new h and c [B, N, U]."""
    gates = 4 * c.shape[-1]
    context, recurrent = of_context[..., :gates], of_state[..., -gates:]
    sums = words[..., :gates] + tf.cast(context, tf.float32) + tf.cast(recurrent, tf.float32)
    i, f, candidate, o = tf.split(sums, 4, -1)  # Keras' order
    c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(candidate)
    return tf.sigmoid(o) * tf.tanh(c), c


@tf.function(autograph=False, jit_compile=True)
def _deep(of_h: tf.Tensor, words: tf.Tensor, of_context: tf.Tensor) -> tf.Tensor:
    """The deep output [B, N, E]."""
    size = of_h.shape[-1]
    context = tf.cast(of_context[..., -size:], tf.float32)
    return tf.tanh(tf.cast(of_h, tf.float32) + words[..., -size:] + context)


@tf.function(autograph=False, jit_compile=True)
def _plus(product: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    return tf.cast(product, tf.float32) + bias
