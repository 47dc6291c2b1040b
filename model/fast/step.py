"""`Decoder.step` as search runs it: the same numbers, from weights that are laid out once.

A step of a search multiplies few rows, so reading and converting weights would cost more than the
products. Therefore a word's part of the gates and of the deep output is a row of a table made
beforehand, kernels with the same input are joined into one, and no kernel is cast to bfloat16 again
at every word.
"""

from typing import NamedTuple

import tensorflow as tf

from model.compiled import compiled
from model.definition.attention import SoftAttention, attend, same_at_every_word
from model.definition.decoder import Decoder, Memory
from model.definition.lstm import State, lstm_cell
from model.definition.precision import DTYPES


class SearchWeights(NamedTuple):
    """A copy of a decoder's weights, laid out for search.

    Kernels have the dtype of the decoder's products. bfloat16 kernels are stored transposed, as
    [O, I] (see `_product`).
    """

    words: (
        tf.Tensor
    )  # [V, 4U + E] float32: E w W_x + b and E w W_e + b_h of every word; or E [V, E]
    state: tf.Tensor  # [U, A + D' + 4U]: query, gate on the context, LSTM gates
    context: tf.Tensor | None  # [D', 4U + E]: LSTM gates, deep output; None: no context
    score: tf.Tensor | None  # v, [A] float32; None: alpha does not move, and no A in `state`
    gate_bias: tf.Tensor | None  # [D'] float32; None: no gate, and no D' in `state`
    deep: tf.Tensor | None  # [U, E]; None: no deep output, and no E above
    logits: tf.Tensor  # [E, V] or [U, V]
    logits_bias: tf.Tensor  # [V] float32
    word_kernel: tf.Tensor | None = None  # [E, 4U + E]: [W_x | W_e]; None: `words` has the products
    word_bias: tf.Tensor | None = None  # [4U + E] float32: [b | b_h]; None likewise


def lay_out(decoder: Decoder, table: bool = True) -> SearchWeights:
    """Copy a decoder's weights as they are now.

    Args:
        decoder: whose weights.
        table: multiply all words beforehand. For a single short search with these weights that
            costs more than it saves.
    """
    dtype = DTYPES[decoder.config.precision]
    attention, deep = decoder.attention, decoder.config.deep_output
    moves = isinstance(attention, SoftAttention)
    context_kernels = []
    if attention.context_depth:
        context_kernels = [
            decoder.context_kernel,
            *([decoder.output_context.kernel] if deep else []),
        ]

    def joined(*kernels: tf.Tensor) -> tf.Tensor:
        kernel = tf.concat([tf.cast(kernel, dtype) for kernel in kernels], 1)
        return tf.transpose(kernel) if dtype == tf.bfloat16 else kernel

    word_kernel = joined(decoder.word_kernel, *([decoder.output_word.kernel] if deep else []))
    biases = [decoder.lstm_bias, *([decoder.output_h.bias] if deep else [])]
    word_bias = tf.concat(biases, 0)
    words = tf.convert_to_tensor(decoder.embedding)
    return SearchWeights(
        words=_add_bias(_product(words, word_kernel), word_bias) if table else words,
        state=joined(
            *([attention.query_kernel] if moves else []),
            *([decoder.gate.kernel] if decoder.gated else []),
            decoder.recurrent_kernel,
        ),
        context=joined(*context_kernels) if context_kernels else None,
        score=tf.identity(attention.score_kernel[:, 0]) if moves else None,
        gate_bias=tf.identity(decoder.gate.bias) if decoder.gated else None,
        deep=joined(decoder.output_h.kernel) if deep else None,
        logits=joined(decoder.output_logits.kernel),
        logits_bias=tf.identity(decoder.output_logits.bias),
        word_kernel=None if table else word_kernel,
        word_bias=None if table else word_bias,
    )


def step(
    weights: SearchWeights, memory: Memory, tokens: tf.Tensor, state: State
) -> tuple[tf.Tensor, State, tf.Tensor]:
    """Take one word of every caption and predict the next, as `Decoder.step` does.

    Args:
        weights: of the decoder, from `lay_out`.
        memory: of the images, from `Decoder.memory`.
        tokens: [B, N] int, the last words.
        state: after the words before them.

    Returns:
        The logits of the next word [B, N, V], the new state, alpha [B, N, L].
    """
    words = tf.gather(weights.words, tokens)
    if weights.word_kernel is not None:
        words = _add_bias(_product(words, weights.word_kernel), weights.word_bias)
    state_product = _product(state.h, weights.state)
    alpha, gate = _attend(state_product, memory.keys, weights.score, weights.gate_bias)
    context_product = None
    if weights.context is not None:
        z = tf.matmul(alpha, memory.values)
        context_product = _product(z if gate is None else z * gate, weights.context)
    state = _lstm_cell(words, context_product, state_product, state.c)
    deep = state.h
    if weights.deep is not None:
        deep = _deep_output(_product(deep, weights.deep), words, context_product)
    return _add_bias(_product(deep, weights.logits), weights.logits_bias), state, alpha


def _product(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Return x [..., I] times the kernel, in the kernel's dtype: [..., O].

    A bfloat16 kernel is stored as [O, I] and multiplied from the left: on the right, oneDNN would
    reorder all of it for the few rows of a step.
    """
    if kernel.dtype != tf.bfloat16:
        return tf.tensordot(x, kernel, 1)
    rows = tf.cast(tf.reshape(x, [-1, x.shape[-1]]), tf.bfloat16)
    product = tf.transpose(tf.matmul(kernel, rows, transpose_b=True))
    return tf.reshape(product, tf.concat([tf.shape(x)[:-1], [kernel.shape[0]]], 0))


# What lies between the products. XLA compiles each function into one pass over its numbers. They
# take whole products of either dtype, and return float32.


@compiled
def _attend(
    state_product: tf.Tensor,
    keys: tf.Tensor,
    score: tf.Tensor | None,
    gate_bias: tf.Tensor | None,
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Return alpha [B, N, L] and the gate on the context [B, N, D'] (None: no gate)."""
    if score is None:
        units, alpha = 0, same_at_every_word(keys, state_product)
    else:
        units = score.shape[0]
        alpha = attend(tf.cast(state_product[..., :units], tf.float32), keys, score)
    if gate_bias is None:
        return alpha, None
    beta = state_product[..., units : units + gate_bias.shape[0]]
    return alpha, tf.sigmoid(tf.cast(beta, tf.float32) + gate_bias)


@compiled
def _lstm_cell(
    words: tf.Tensor, context_product: tf.Tensor | None, state_product: tf.Tensor, c: tf.Tensor
) -> State:
    """Return the LSTM's state after the words."""
    size = 4 * c.shape[-1]
    gates = words[..., :size]
    if context_product is not None:
        gates += tf.cast(context_product[..., :size], tf.float32)
    return lstm_cell(gates + tf.cast(state_product[..., -size:], tf.float32), c)


@compiled
def _deep_output(
    h_product: tf.Tensor, words: tf.Tensor, context_product: tf.Tensor | None
) -> tf.Tensor:
    """Return the deep output [B, N, E]."""
    size = h_product.shape[-1]
    inner = tf.cast(h_product, tf.float32) + words[..., -size:]
    if context_product is not None:
        inner += tf.cast(context_product[..., -size:], tf.float32)
    return tf.tanh(inner)


@compiled
def _add_bias(product: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    return tf.cast(product, tf.float32) + bias
