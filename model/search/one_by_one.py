"""Captions from a step function: in graph, batched, knowing no model.

Here are greedy search and sampling, and what every search is made of; beam search is in beam.py.

A step function takes the last word of N captions of each of B images and their state, and gives the
logits of the next word, the new state and where it looked. What the captions of an image share (its
features) is the step function's own affair: nothing of that is copied N times here.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

# (tokens [B, N], state) -> (logits [B, N, V] float32, new state, attention [B, N, L] float32).
# A state is any nest of tensors [B, N, ...].
Step = Callable[[tf.Tensor, Any], tuple[tf.Tensor, Any, tf.Tensor]]

# What the commands take when nobody says otherwise, for `Rules.no_repeat_ngram`.
NO_REPEAT_NGRAM = 3


class Rules(NamedTuple):
    """What a caption may be.

    A caption that may say no word at all ends there, even short of `min_length`.
    """

    start: int  # id that opens a caption and is no part of it
    end: int  # id that closes a caption
    banned: tuple[int, ...] = ()  # ids that are never said; 0 never is, being the padding
    max_length: int = 30  # words, `end` counted; a longer caption is cut
    min_length: int = 0  # words before `end`
    no_repeat_ngram: int = 0  # no run of so many words comes twice in a caption; 0: any may


class Captions(NamedTuple):
    """N captions of each of B images; T words, the longest of them."""

    ids: tf.Tensor  # [B, N, T] int32: words, then `end`, then 0
    log_probabilities: tf.Tensor  # [B, N, T] float32: of each word and of `end`, then 0
    score: tf.Tensor  # [B, N] float32: what the search ranks by
    attention: tf.Tensor  # [B, N, T, L] float32: where each word looked, then 0


def greedy(step: Step, state: Any, rules: Rules) -> Captions:
    """One caption an image: the likeliest word at each step. Score: its log-probability.

    Call arguments:
        state: of one caption an image, [B, 1, ...].
    """

    def choose(t, logits, veto):
        log_probs, words = likeliest(logits, veto, 1)
        return log_probs[..., 0], words[..., 0]

    return _one_by_one(step, state, rules, choose)


def sample(
    step: Step,
    state: Any,
    rules: Rules,
    seeds: tf.Tensor,
    *,
    samples: int = 1,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Captions:
    """Words drawn by their probability. Score: the caption's log-probability.

    What an image is given is a function of its seed, whatever else is in the batch. The
    log-probabilities are those of the step function, before temperature, top-k and top-p.

    Call arguments:
        state: of one caption an image, [B, 1, ...].
        seeds: [B, 2] int, one for each image.
        samples: N, drawn independently, in no order.
        temperature: divides the logits: below 1 the likely becomes likelier.
        top_k: draw from so many likeliest words; 0: from all.
        top_p: then from the fewest likeliest that hold this share of what is left (nucleus
            sampling, Holtzman et al. 2020); 1: from all.
    """
    # One number a word: the draw is where it falls among the summed shares.
    numbers = tf.map_fn(
        lambda seed: tf.random.stateless_uniform([samples, rules.max_length], seed),
        seeds,
        fn_output_signature=tf.float32,
    )  # [B, N, T]

    def choose(t, logits, veto):
        sums = tf.cumsum(_shares(allowed(logits, veto) / temperature, top_k, top_p), -1)
        # Numbers stay 2**-23 below 1, so the product is below the last sum: no share of 0 is drawn.
        passed = sums <= numbers[:, :, t, None] * sums[..., -1:]
        words = tf.reduce_sum(tf.cast(passed, tf.int32), -1)
        log_probs = tf.gather(logits, words, batch_dims=2) - tf.reduce_logsumexp(logits, -1)
        return log_probs, words

    return _one_by_one(step, repeat(state, samples), rules, choose)


def _shares(logits: tf.Tensor, top_k: int, top_p: float) -> tf.Tensor:
    """Probabilities [B, N, V], 0 outside the top k and the nucleus, not summed to 1 again."""
    if top_k:
        least = tf.math.top_k(logits, min(top_k, logits.shape[-1]))[0][..., -1:]
        logits = tf.where(logits < least, -math.inf, logits)
    shares = tf.nn.softmax(logits)
    if top_p < 1:
        falling = tf.sort(shares, direction="DESCENDING")
        nucleus = tf.cumsum(falling, -1, exclusive=True) < top_p
        least = tf.reduce_min(tf.where(nucleus, falling, 1.0), -1, keepdims=True)
        shares = tf.where(shares < least, 0.0, shares)
    return shares


def _one_by_one(step: Step, state: Any, rules: Rules, choose: Callable) -> Captions:
    """Captions that do not compete.

    Call arguments:
        choose: (t, logits, veto) -> log-probability and word, both [B, N].
    """
    shape = tf.shape(tf.nest.flatten(state)[0])[:2]  # [B, N]
    ids = tf.zeros([shape[0], shape[1], rules.max_length], tf.int32)
    arrays = [tf.TensorArray(tf.float32, rules.max_length) for _ in range(2)]

    def body(t, tokens, state, alive, ids, arrays):
        logits, state, alpha = step(tokens, state)
        log_probs, words = choose(t, logits, vetoes(rules, t, ids, logits.shape[-1]))
        tokens = tf.where(alive, words, 0)
        said = tf.where(alive, log_probs, 0.0), tf.where(alive[..., None], alpha, 0.0)
        arrays = [array.write(t, value) for array, value in zip(arrays, said, strict=True)]
        return t + 1, tokens, state, alive & (tokens != rules.end), put(ids, t, tokens), arrays

    length, _, _, _, ids, arrays = tf.while_loop(
        lambda t, tokens, state, alive, *_: tf.reduce_any(alive),
        body,
        (0, tf.fill(shape, rules.start), state, tf.fill(shape, True), ids, arrays),
        maximum_iterations=rules.max_length,
    )
    log_probs, attention = (stacked(array, length) for array in arrays)
    return Captions(ids[..., :length], log_probs, tf.reduce_sum(log_probs, -1), attention)


# What every search is made of.


def repeat(state: Any, captions: int) -> Any:
    """The state of one caption an image, [B, 1, ...], as that of N: [B, N, ...]."""
    return tf.nest.map_structure(lambda x: tf.repeat(x, captions, 1), state)


def put(history: tf.Tensor, t: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """The history [B, N, T] with the values [B, N] at place t."""
    return tf.where(tf.range(history.shape[-1]) == t, values[..., None], history)


def stacked(array: tf.TensorArray, length: tf.Tensor) -> tf.Tensor:
    """The first `length` elements, each [B, N, ...], as [B, N, length, ...]."""
    # The others were never written: stack() would not know their shape.
    whole = array.gather(tf.range(length))
    return tf.transpose(whole, [1, 2, 0, *range(3, len(whole.shape))])


class Veto(NamedTuple):
    """What may not be said at a place of a caption; the padding never may."""

    words: tf.Tensor  # [V] float32: -inf for what no caption may say there, else 0
    repeats: tf.Tensor | None  # [B, N, S] int32: words that each may not say besides, or 0
    end: int  # may be said where nothing else may


def vetoes(rules: Rules, t: tf.Tensor, ids: tf.Tensor, vocabulary_size: int) -> Veto:
    """What may not be said at place t after ids [B, N, T]."""
    never, ending = np.zeros((2, vocabulary_size), np.float32)
    never[[0, *rules.banned]] = -math.inf
    ending[rules.end] = -math.inf
    words = tf.where(t < rules.min_length, never + ending, never)
    n = rules.no_repeat_ngram
    return Veto(words, _repeats(ids, t, n) if 0 < n <= rules.max_length else None, rules.end)


def _repeats(ids: tf.Tensor, t: tf.Tensor, n: int) -> tf.Tensor:
    """The words that would complete n words that came before place t already: [B, N, S] int32, one
    for each of S places where n words can begin, 0 where they would not."""
    starts = ids.shape[-1] - n + 1
    same = tf.range(starts) + n - 1 < t
    for i in range(n - 1):
        latest = ids[..., tf.maximum(t - n + 1 + i, 0), None]
        same &= ids[..., i : i + starts] == latest
    return tf.where(same, ids[..., n - 1 :], 0)


def allowed(logits: tf.Tensor, veto: Veto) -> tf.Tensor:
    """The logits [B, N, V] with -inf for what may not be said."""
    kept = logits + veto.words
    if veto.repeats is not None:
        images, captions, count = tf.unstack(tf.shape(veto.repeats))
        rows = tf.repeat(tf.range(images * captions), count)
        kept = tf.reshape(kept, [images * captions, kept.shape[-1]])
        places = tf.stack([rows, tf.reshape(veto.repeats, [-1])], 1)
        kept = tf.tensor_scatter_nd_update(kept, places, tf.fill(tf.shape(rows), -math.inf))
        kept = tf.reshape(kept, tf.shape(logits))
    stuck = tf.reduce_max(kept, -1, keepdims=True) == -math.inf
    is_end = tf.range(logits.shape[-1]) == veto.end
    return tf.where(stuck & is_end, logits, kept)


def likeliest(logits: tf.Tensor, veto: Veto, k: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The k likeliest words that may be said, ties in order: log-probabilities, ids: [B, N, k].

    A probability is one among all words: a veto does not make the others likelier. The k likeliest
    lie in those k chunks of the vocabulary that have the highest maxima, so that no vocabulary is
    sorted and no full log-softmax made: five times as fast on a CPU.
    """
    chunks, highest, log_sum = _survey(logits, veto)
    count, size = chunks.shape[-2:]
    best = tf.sort(tf.math.top_k(highest, min(k, count))[1])
    shape = tf.shape(logits)
    candidates = tf.reshape(tf.gather(chunks, best, batch_dims=2), [shape[0], shape[1], -1])
    values, places = tf.math.top_k(candidates, k)
    words = tf.gather(best, places // size, batch_dims=2) * size + places % size
    return values - log_sum, words


@tf.function(autograph=False, jit_compile=True)
def _survey(logits: tf.Tensor, veto: Veto) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Logits [B, N, V] with their veto, in chunks: [B, N, C, S]; the maximum of each chunk
    [B, N, C]; the log of the sum of the exponentials of all logits, veto or not: [B, N, 1].
    """
    vocabulary_size, shape = logits.shape[-1], tf.shape(logits)
    size = math.isqrt(vocabulary_size - 1) + 1
    count = -(-vocabulary_size // size)
    padding = [[0, 0], [0, 0], [0, count * size - vocabulary_size]]
    padded = tf.pad(allowed(logits, veto), padding, constant_values=-math.inf)
    chunks = tf.reshape(padded, [shape[0], shape[1], count, size])
    top = tf.reduce_max(logits, -1, keepdims=True)
    log_sum = top + tf.math.log(tf.reduce_sum(tf.exp(logits - top), -1, keepdims=True))
    return chunks, tf.reduce_max(chunks, -1), log_sum
