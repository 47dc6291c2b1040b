"""Teacher forcing, fast on CPUs: the same as `forcing.py`, computing only words that are said.

Once per image: values, keys and the first state. Once per batch: all words into the gates, in one
product. Then word by word (`recurrence.py`), for rows that hold the states of captions. Afterwards:
the deep output and the vocabulary (`projection.py`), on real words only.
"""

import tensorflow as tf

from model.definition.decoder import Decoder, Memory
from model.definition.forcing import ForcingResult, keep_mask, time_first
from model.fast.fused import flat, padded, slots
from model.fast.projection import DTYPES, word_losses
from model.fast.recurrence import Inputs, recurrence

_WORDS = 64  # real words are padded to a multiple of this: few shapes to compile


def teacher_force(
    decoder: Decoder,
    features: tf.Tensor,
    ids: tf.Tensor,
    dropout: float = 0.0,
    seed: tf.Tensor = (0, 0),
    label_smoothing: float = 0.0,
) -> ForcingResult:
    """As `forcing.teacher_force`."""
    tokens, targets, real = time_first(ids)
    shape = tf.shape(real)
    rows, counts = _rows(real)

    def drop(x, place):
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
    spoken = tf.where(tf.gather(flat(real, 3), rows))[:, 0]  # [R]: computed, and real
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
    losses, nll = (
        tf.reshape(tf.scatter_nd(places, x[:count], [tf.reduce_prod(shape)]), shape) for x in losses
    )
    locations = tf.shape(alpha)[-1:]
    attention = tf.scatter_nd(
        rows[:, None], flat(alpha, 2), tf.concat([[tf.reduce_prod(shape)], locations], 0)
    )
    attention = tf.reshape(attention, tf.concat([shape, locations], 0))
    return ForcingResult(losses, tf.stop_gradient(nll), attention, real)


def _rows(real: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Which rows are computed: real [T, B, N] -> indices of (t, b, n) [M, B], n_t [T']."""
    _, images, captions = tf.unstack(tf.shape(real))
    unfinished = tf.cast(tf.reduce_any(real, 1), tf.int32)  # [T, N]
    counts = tf.reduce_max(unfinished * tf.range(1, captions + 1), 1)
    counts = tf.minimum(counts + counts % 2, captions)  # fewer shapes to compile
    computed = tf.where(tf.sequence_mask(counts, captions))  # [M, 2]: (t, n)
    t, n = tf.unstack(tf.cast(computed, tf.int32)[..., None], axis=1)
    rows = (t * images + tf.range(images)) * captions + n
    return rows, tf.boolean_mask(counts, counts > 0)


def _unroll(
    decoder: Decoder, memory: Memory, gates: tf.Tensor, counts: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """gates [M, B, 4U] -> h [M, B, U], z [M, B, D'], alpha [M, B, L]."""
    attention, config = decoder.attention, decoder.config
    kernels = [decoder.recurrent_kernel, attention.query_kernel]
    gate_bias = tf.zeros([0])
    if config.gate:
        gate_kernel, gate_bias = decoder.gate
        kernels.append(gate_kernel)
    images = tf.shape(gates)[1]
    state = decoder.initial_state(memory, 1)
    inputs = Inputs(
        gates=flat(gates, 2),
        keys=memory.keys,
        values=memory.values,
        h0=state.h[:, 0],
        c0=state.c[:, 0],
        state_kernel=tf.concat([tf.convert_to_tensor(kernel) for kernel in kernels], 1),
        context_kernel=tf.convert_to_tensor(decoder.context_kernel),
        score=tf.convert_to_tensor(attention.score_kernel)[:, 0],
        gate_bias=tf.convert_to_tensor(gate_bias),
    )
    rows = recurrence(inputs, counts, DTYPES[config.precision], config.gate)
    return tuple(slots(x, images) for x in rows)
