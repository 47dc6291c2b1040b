"""What a word loses when places of the image are hidden from it: whether attention is faithful.

A place is hidden from one word alone: the words before it have seen everything. Its share of the
context is taken away, and nothing is put in its place: neither a feature that no image has, which
would itself disturb the word, nor more weight on the other places. With more weight on the others,
hiding places at random would change nothing on average, since the mean of the others is as likely
to be above the mean of all as below; an even attention would then look the most faithful of all.

If attention is faithful, a word needs the places that it looks at most. Hiding these then lowers
its log-probability more than hiding as many places at random does.
"""

from typing import NamedTuple

import tensorflow as tf

from model.definition.decoder import Decoder
from model.definition.lstm import State

SHARE = 0.1  # of the places, hidden from each word


class Drops(NamedTuple):
    """By how much hiding places lowers the log-probability of each word, in nats: [B, T] float32.

    With even attention the same places are hidden, so that it shows how much the word needs them
    whatever their weights.
    """

    most: tf.Tensor  # without the places that the word looks at most
    random: tf.Tensor  # without as many places at random; the mean over the draws
    even_most: tf.Tensor  # as `most`, with even attention
    even_random: tf.Tensor  # as `random`, with even attention


def hidden_places(locations: int) -> int:
    """Return how many of so many places are hidden from a word, 1 or more."""
    return max(1, round(SHARE * locations))


def drops(
    decoder: Decoder, features: tf.Tensor, ids: tf.Tensor, numbers: tf.Tensor, hidden: int
) -> Drops:
    """Hide places from each word of one caption of each image.

    Args:
        decoder: a decoder with an attention.
        features: [B, L, D] of any float type.
        ids: [B, T + 1] int, `<start>` and T words.
        numbers: [B, T, R, L] float32, for R draws: the places with the highest numbers are hidden.
        hidden: how many places are hidden, as `hidden_places` says.

    Returns:
        The drops of the T words.
    """
    memory = decoder.memory(features)
    ids, numbers = tf.transpose(ids), tf.transpose(numbers, [1, 0, 2, 3])
    words, length = decoder.embed(ids[:-1])[:, :, None], tf.shape(ids)[0] - 1  # [T, B, 1, E]
    gates, draws = decoder.word_gates(words), numbers.shape[2]

    def body(
        t: tf.Tensor, state: State, result: tf.TensorArray
    ) -> tuple[tf.Tensor, State, tf.TensorArray]:
        _, alpha = decoder.attention(state.h, memory.keys, memory.values)  # [B, 1, L]
        shown = 1.0 - _highest(tf.concat([alpha, numbers[t]], 1), hidden)
        shown = tf.concat([tf.ones_like(alpha), shown], 1)  # [B, 2 + R, L]
        even = shown / tf.cast(tf.shape(alpha)[-1], tf.float32)
        context = tf.matmul(tf.concat([alpha * shown, even], 1), memory.values)
        log_p, after = _next_word(decoder, words[t], gates[t], state, context, ids[t + 1])
        lost = []
        for of_weights in tf.split(log_p, 2, 1):
            all_shown, most, *random = tf.unstack(of_weights, 2 + draws, 1)
            lost += [all_shown - most, all_shown - tf.add_n(random) / draws]
        return t + 1, State(*(x[:, :1] for x in after)), result.write(t, tf.stack(lost))

    _, _, result = tf.while_loop(
        lambda t, *_: t < length,
        body,
        (0, decoder.initial_state(memory, 1), tf.TensorArray(tf.float32, length)),
        maximum_iterations=length,
    )
    return Drops(*tf.unstack(tf.transpose(result.stack(), [1, 2, 0])))


def _next_word(
    decoder: Decoder,
    word: tf.Tensor,
    gates: tf.Tensor,
    state: State,
    context: tf.Tensor,
    target: tf.Tensor,
) -> tuple[tf.Tensor, State]:
    """Return log p(target) [B, N] and the state, after a word that sees each of N contexts.

    Args:
        decoder: the decoder.
        word: [B, 1, E], from `embed`.
        gates: [B, 1, 4U], from `word_gates`.
        state: after the words before, [B, 1, U].
        context: [B, N, D'].
        target: [B] int, the next word.
    """
    count = tf.shape(context)[1]
    gates, h, c, word = (tf.repeat(x, count, 1) for x in (gates, *state, word))
    state, z = decoder.read(gates, State(h, c), context)
    log_p = tf.nn.log_softmax(decoder.logits(decoder.deep_output(state.h, z, word)))
    return tf.gather(log_p, tf.repeat(target[:, None], count, 1), batch_dims=2), state


def _highest(numbers: tf.Tensor, count: int) -> tf.Tensor:
    """Return 1 at the highest `count` of the last axis and 0 elsewhere, float32."""
    places = tf.math.top_k(numbers, count)[1]
    return tf.reduce_sum(tf.one_hot(places, tf.shape(numbers)[-1]), -2)
