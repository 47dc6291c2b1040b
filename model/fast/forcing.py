"""Teacher forcing as CPUs run it: the same as `model/definition/forcing.py`, on real words only.

Values, keys and the first state are computed once per image. All words go into the LSTM's gates in
one product. Then comes the loop over words (`recurrence.py`). After it, the deep output and the
vocabulary (`projection.py`) are computed for all real words at once.

Every attention runs through the same loop, so no second backward pass is written by hand. One that
does not move gives every word the same context. Its alpha and context are computed once per image,
outside the loop, and differentiated by TensorFlow. Inside the loop the context is the only location
to look at; a softmax over one location is 1, whatever the state.

T' is the number of words up to the batch's longest caption, M the number of slots (see `rows.py`).
"""

from typing import NamedTuple

import tensorflow as tf

from model.definition.attention import SoftAttention
from model.definition.decoder import Decoder, Memory
from model.definition.forcing import ForcingResult, keep_mask, time_first
from model.definition.precision import DTYPES
from model.fast.projection import word_losses
from model.fast.recurrence import Inputs, recurrence
from model.fast.rows import flat, padded, slots

_WORDS = 64  # real words are padded to a multiple of this, so that XLA compiles few shapes


def teacher_force(
    decoder: Decoder,
    features: tf.Tensor,
    ids: tf.Tensor,
    dropout: float = 0.0,
    seed: tf.Tensor | tuple[int, int] = (0, 0),
    label_smoothing: float = 0.0,
    fed: tf.Tensor | None = None,
) -> ForcingResult:
    """Return the same as `model.definition.forcing.teacher_force`.

    Args:
        decoder: the decoder that is trained or validated.
        features: [B, L, D] of any float type.
        ids: [B, N, T + 1] int, `<start> ... <end>` then padding of 0.
        dropout: rate of the dropout on features, words and both sides of the deep output.
        seed: [2] int, decides the dropout masks.
        label_smoothing: share of the target that is spread evenly over all words.
        fed: [B, N, T] int, the words fed in, if these are not the captions' own `ids[..., :-1]`.
    """
    tokens, targets, real = time_first(ids, fed)
    shape = tf.shape(real)
    rows, counts = _computed_rows(real)

    def drop(x: tf.Tensor, place: int) -> tf.Tensor:
        if not dropout:
            return x
        mask = keep_mask(tf.concat([shape, tf.shape(x)[-1:]], 0), dropout, seed, place)
        return x * tf.gather(flat(mask, 3), rows)

    if dropout:
        mask = keep_mask(tf.shape(features), dropout, seed, 0)
        features = tf.cast(features, tf.float32) * mask
    memory = decoder.memory(features)
    words = drop(decoder.embed(tf.gather(flat(tokens, 3), rows)), 1)  # [M, B, E]
    h, z, alpha = _unroll(decoder, memory, decoder.word_gates(words), counts)
    deep = drop(decoder.deep_output(drop(h, 2), z, words), 3)

    rows = flat(rows, 2)  # [M B]
    losses, nll = _losses(decoder, deep, rows, targets, real, label_smoothing)
    locations = tf.shape(alpha)[-1:]
    attention = tf.scatter_nd(
        rows[:, None], flat(alpha, 2), tf.concat([[tf.reduce_prod(shape)], locations], 0)
    )
    attention = tf.reshape(attention, tf.concat([shape, locations], 0))
    return ForcingResult(losses, tf.stop_gradient(nll), attention, real)


def likeliest_words(decoder: Decoder, features: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """Return the same as `model.definition.forcing.likeliest_words`; 0 on padding.

    Args:
        decoder: the decoder.
        features: [B, L, D] of any float type.
        ids: [B, N, T + 1] int, as for `teacher_force`.
    """
    tokens, _, real = time_first(ids)
    rows, counts = _computed_rows(real)
    words = decoder.embed(tf.gather(flat(tokens, 3), rows))  # [M, B, E]
    h, z, _ = _unroll(decoder, decoder.memory(features), decoder.word_gates(words), counts)
    deep, rows = flat(decoder.deep_output(h, z, words), 2), flat(rows, 2)
    spoken = tf.where(tf.gather(flat(real, 3), rows))[:, 0]  # rows that are real words
    likeliest = tf.argmax(decoder.logits(tf.gather(deep, spoken)), -1, tf.int32)
    places, shape = tf.gather(rows, spoken)[:, None], tf.shape(real)
    words = tf.reshape(tf.scatter_nd(places, likeliest, [tf.reduce_prod(shape)]), shape)
    return tf.transpose(words, [1, 2, 0])


def _computed_rows(real: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Choose which of the T N B states are computed.

    Args:
        real: [T, B, N] bool.

    Returns:
        The place of each row (t, n, b) in a flattened [T, B, N], as [M, B] int32; and n_t, the
        number of captions of each image that are computed at word t, as [T'] int32.
    """
    _, images, captions = tf.unstack(tf.shape(real))
    unfinished = tf.cast(tf.reduce_any(real, 1), tf.int32)  # [T, N]
    counts = tf.reduce_max(unfinished * tf.range(1, captions + 1), 1)
    counts = tf.minimum(counts + counts % 2, captions)  # even: XLA compiles fewer shapes
    computed = tf.where(tf.sequence_mask(counts, captions))  # [M, 2]: (t, n)
    t, n = tf.unstack(tf.cast(computed, tf.int32)[..., None], axis=1)
    rows = (t * images + tf.range(images)) * captions + n
    return rows, tf.boolean_mask(counts, counts > 0)


def _unroll(
    decoder: Decoder, memory: Memory, gates: tf.Tensor, counts: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Run the recurrence.

    Args:
        decoder: the decoder.
        memory: of B images.
        gates: [M, B, 4U], the words' part.
        counts: n_t, [T'] int32.

    Returns:
        h [M, B, U], z [M, B, D'], alpha [M, B, L].
    """
    looked_at, config = _looked_at(decoder, memory), decoder.config
    kernels = [decoder.recurrent_kernel, looked_at.query_kernel]
    gate_bias = tf.zeros([0])
    if decoder.gated:
        gate_kernel, gate_bias = decoder.gate
        kernels.append(gate_kernel)
    images = tf.shape(gates)[1]
    state = decoder.initial_state(memory, 1)
    inputs = Inputs(
        gates=flat(gates, 2),
        keys=looked_at.keys,
        values=looked_at.values,
        h0=state.h[:, 0],
        c0=state.c[:, 0],
        state_kernel=tf.concat([tf.convert_to_tensor(kernel) for kernel in kernels], 1),
        context_kernel=looked_at.context_kernel,
        score=looked_at.score,
        gate_bias=tf.convert_to_tensor(gate_bias),
    )
    h, z, alpha = recurrence(inputs, counts, DTYPES[config.precision], decoder.gated)
    alpha = slots(alpha, images)
    if looked_at.alpha is not None:
        alpha = tf.repeat(looked_at.alpha, tf.shape(alpha)[0], 0)
    return slots(h, images), slots(z, images), alpha


class _LookedAt(NamedTuple):
    """What the loop attends to, and with which weights."""

    keys: tf.Tensor  # [B, L, A]
    values: tf.Tensor  # [B, L, D']
    query_kernel: tf.Tensor  # [U, A]
    score: tf.Tensor  # [A]
    context_kernel: tf.Tensor  # [D', 4U]
    alpha: tf.Tensor | None  # [1, B, L] where it is the same at every word; None: the loop's


def _looked_at(decoder: Decoder, memory: Memory) -> _LookedAt:
    """Return all locations; or one, the context, where the attention does not move."""
    attention, units = decoder.attention, decoder.config.rnn_units
    context_kernel = tf.zeros([1, 4 * units])
    if attention.context_depth:
        context_kernel = tf.convert_to_tensor(decoder.context_kernel)
    if isinstance(attention, SoftAttention):
        query, score = attention.query_kernel, attention.score_kernel
        query, score = tf.convert_to_tensor(query), tf.convert_to_tensor(score)[:, 0]
        return _LookedAt(memory.keys, memory.values, query, score, context_kernel, None)
    one_word = tf.zeros([tf.shape(memory.keys)[0], 1, units])
    context, alpha = attention(one_word, memory.keys, memory.values)
    if not attention.context_depth:
        context = tf.zeros_like(one_word[..., :1])  # the loop needs a depth of 1 or more
    keys = tf.zeros_like(context[..., :1])
    alpha = tf.transpose(alpha, [1, 0, 2])
    return _LookedAt(keys, context, tf.zeros([units, 1]), tf.zeros([1]), context_kernel, alpha)


def _losses(
    decoder: Decoder,
    deep: tf.Tensor,
    rows: tf.Tensor,
    targets: tf.Tensor,
    real: tf.Tensor,
    label_smoothing: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the losses of all words, with label smoothing and without it: two [T, B, N].

    Args:
        decoder: the decoder.
        deep: [M, B, E].
        rows: [M B], the place of each row in a flattened [T, B, N].
        targets: [T, B, N] int, the words expected.
        real: [T, B, N] bool, which of them are words.
        label_smoothing: share of the target that is spread evenly over all words.
    """
    shape = tf.shape(real)
    spoken = tf.where(tf.gather(flat(real, 3), rows))[:, 0]  # [R]: rows that are real words
    count = tf.shape(spoken)[0]
    places = tf.gather(rows, spoken)[:, None]
    kernel, bias = (tf.convert_to_tensor(w) for w in decoder.output_logits)
    losses = word_losses(
        tf.gather(flat(deep, 2), padded(spoken, _WORDS)),
        kernel,
        bias,
        padded(tf.gather(flat(targets, 3), places[:, 0]), _WORDS),
        label_smoothing,
        decoder.config.precision,
    )
    smoothed, nll = (
        tf.reshape(tf.scatter_nd(places, x[:count], [tf.reduce_prod(shape)]), shape) for x in losses
    )
    return smoothed, nll
