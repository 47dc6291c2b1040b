"""Teacher forcing by the definition: every caption goes word by word through `Decoder.recur`.

A GPU compiles this code as one graph. CPUs run `model/fast/forcing.py`, which computes the same
several times as fast; `tests/model/test_fast_forcing.py` compares the two.
"""

from typing import NamedTuple

import tensorflow as tf

from model.definition.decoder import Decoder, Memory
from model.definition.lstm import State


class ForcingResult(NamedTuple):
    """What teacher forcing returns, for N captions of T words of each of B images."""

    losses: tf.Tensor  # [T, B, N] float32, nats, smoothed: what is minimised; 0 on padding
    nll: tf.Tensor  # [T, B, N] float32: -log p(word), for perplexity, no gradient; 0 on padding
    attention: tf.Tensor  # [T, B, N, L] float32; undefined on padding
    real: tf.Tensor  # [T, B, N] bool: whether there is a word to predict; <end> counts


def teacher_force(
    decoder: Decoder,
    features: tf.Tensor,
    ids: tf.Tensor,
    dropout: float = 0.0,
    seed: tf.Tensor | tuple[int, int] = (0, 0),
    label_smoothing: float = 0.0,
    fed: tf.Tensor | None = None,
) -> ForcingResult:
    """Return the loss of every word given the words before it.

    Args:
        decoder: the decoder that is trained or validated.
        features: [B, L, D] of any float type.
        ids: [B, N, T + 1] int, `<start> ... <end>` then padding of 0.
        dropout: rate of the dropout on features, words and both sides of the deep output; 0 in
            validation.
        seed: [2] int, decides the dropout masks.
        label_smoothing: share of the target that is spread evenly over all words.
        fed: [B, N, T] int, the words fed in, if these are not the captions' own `ids[..., :-1]`.
    """
    tokens, targets, real = time_first(ids, fed)
    deep, attention = _deep_output(decoder, features, tokens, dropout, seed)
    log_p = tf.nn.log_softmax(decoder.logits(_drop(deep, dropout, seed, 3)))  # [T, B, N, V]
    nll = tf.where(real, -tf.gather(log_p, targets, batch_dims=3), 0.0)
    even = tf.where(real, -tf.reduce_mean(log_p, -1), 0.0)
    losses = (1.0 - label_smoothing) * nll + label_smoothing * even
    return ForcingResult(losses, tf.stop_gradient(nll), attention, real)


def likeliest_words(decoder: Decoder, features: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """Return the word that the decoder finds likeliest after each word of the captions.

    Args:
        decoder: the decoder.
        features: [B, L, D] of any float type.
        ids: [B, N, T + 1] int, as for `teacher_force`.

    Returns:
        [B, N, T] int32; undefined on padding.
    """
    tokens, _, _ = time_first(ids)
    deep, _ = _deep_output(decoder, features, tokens, 0.0, (0, 0))
    words = tf.argmax(decoder.logits(deep), -1, tf.int32)
    return tf.transpose(words, [1, 2, 0])


def _deep_output(
    decoder: Decoder,
    features: tf.Tensor,
    tokens: tf.Tensor,
    dropout: float,
    seed: tf.Tensor | tuple[int, int],
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return what the logits are made from, [T, B, N, E], and alpha, [T, B, N, L]."""
    memory = decoder.memory(_drop(features, dropout, seed, 0))
    words = _drop(decoder.embed(tokens), dropout, seed, 1)  # [T, B, N, E]
    h, z, attention = _unroll(decoder, memory, decoder.word_gates(words))
    return decoder.deep_output(_drop(h, dropout, seed, 2), z, words), attention


def time_first(
    ids: tf.Tensor, fed: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Split ids [B, N, T + 1] into the words fed in, the words expected and which of them are real.

    Args:
        ids: the captions.
        fed: [B, N, T], the words fed in; None: those of the captions.

    Returns:
        Three tensors [T, B, N]: int, int, bool.
    """
    ids = tf.transpose(ids, [2, 0, 1])
    tokens = ids[:-1] if fed is None else tf.transpose(fed, [2, 0, 1])
    return tokens, ids[1:], ids[1:] != 0


def keep_mask(
    shape: tf.Tensor, rate: float, seed: tf.Tensor | tuple[int, int], place: int
) -> tf.Tensor:
    """Return dropout's factors, each 0 or 1 / (1 - rate).

    They depend on `seed`, `place` and the shape alone, so a training step can be repeated. One
    random byte decides about one element, so the rate is rounded to a multiple of 1 / 256.

    Args:
        shape: [rank] int, of the tensor that is multiplied by the factors.
        rate: share of elements that become 0.
        seed: [2] int.
        place: 0 to 3, one for each dropout of the model, so that no two share a mask.

    Returns:
        float32 of that shape.
    """
    seed = tf.stack([seed[0], seed[1] * 4 + place])
    size = tf.reduce_prod(shape)
    random_words = tf.random.stateless_uniform([-(-size // 8)], seed, None, None, tf.int64)
    kept = tf.reshape(tf.bitcast(random_words, tf.uint8), [-1])[:size] >= round(rate * 256)
    return tf.reshape(tf.cast(kept, tf.float32) / (1.0 - round(rate * 256) / 256), shape)


def _drop(x: tf.Tensor, rate: float, seed: tf.Tensor | tuple[int, int], place: int) -> tf.Tensor:
    if not rate:
        return x
    return tf.cast(x, tf.float32) * keep_mask(tf.shape(x), rate, seed, place)


def _unroll(
    decoder: Decoder, memory: Memory, gates: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Run all T words.

    Args:
        decoder: the decoder.
        memory: of B images.
        gates: [T, B, N, 4U], the words' part.

    Returns:
        h [T, B, N, U], z [T, B, N, D'] ([T, B, N, 0] without an attention), alpha [T, B, N, L].
    """
    length = tf.shape(gates)[0]
    # Gates are read from an array: the gradient of `gates[t]` would be a tensor of all T words at
    # each word.
    steps = tf.TensorArray(tf.float32, length).unstack(gates)
    outputs = tuple(tf.TensorArray(tf.float32, length) for _ in range(3))

    def body(
        t: tf.Tensor, state: State, outputs: tuple[tf.TensorArray, ...]
    ) -> tuple[tf.Tensor, State, tuple[tf.TensorArray, ...]]:
        state, z, alpha = decoder.recur(steps.read(t), state, memory)
        written = zip(outputs, (state.h, z, alpha), strict=True)
        return t + 1, state, tuple(array.write(t, value) for array, value in written)

    state = decoder.initial_state(memory, tf.shape(gates)[2])
    _, _, outputs = tf.while_loop(
        lambda t, *_: t < length, body, (0, state, outputs), maximum_iterations=length
    )
    return tuple(array.stack() for array in outputs)
