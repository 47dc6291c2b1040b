"""Which words may come next in a caption, and the likeliest of them."""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from model.compiled import compiled

# The commands' default for `Rules.no_repeat_ngram`.
NO_REPEAT_NGRAM = 3
# The default for `Rules.max_length`.
MAX_LENGTH = 30


class Rules(NamedTuple):
    """What a caption may be.

    Where the rules allow no word at all, the caption ends, even before `min_length`.
    """

    start: int  # id that opens a caption and is no part of it
    end: int  # id that closes a caption
    banned: tuple[int, ...] = ()  # ids that no caption contains; 0, the padding, is always banned
    max_length: int = MAX_LENGTH  # words, `end` counted; a longer caption is cut
    min_length: int = 0  # words before `end`
    no_repeat_ngram: int = 0  # no sequence of so many words comes twice in a caption; 0: any may


class Veto(NamedTuple):
    """The words that are forbidden at one place of each caption."""

    words: tf.Tensor  # [V] float32: -inf for words that no caption may have there, else 0
    repeats: tf.Tensor | None  # [B, N, S] int32: words forbidden to one caption besides, or 0
    end: int  # is allowed where nothing else is


def veto_at(rules: Rules, t: tf.Tensor, ids: tf.Tensor, vocabulary_size: int) -> Veto:
    """Return what the rules forbid at place t of captions whose words before it are ids [B, N, T].

    Args:
        rules: what a caption may be.
        t: the place, scalar int32.
        ids: int32; what stands at place t and after it does not matter.
        vocabulary_size: V.
    """
    never, ending = np.zeros((2, vocabulary_size), np.float32)
    never[[0, *rules.banned]] = -math.inf
    ending[rules.end] = -math.inf
    words = tf.where(t < rules.min_length, never + ending, never)
    n = rules.no_repeat_ngram
    return Veto(words, _repeats(ids, t, n) if 0 < n <= rules.max_length else None, rules.end)


def _repeats(ids: tf.Tensor, t: tf.Tensor, n: int) -> tf.Tensor:
    """Return the words that would repeat a sequence of n words if they came at place t.

    Returns:
        [B, N, S] int32: for each of the S places where n words can begin, the word that completes
        the sequence from there, or 0 where the words just before t differ from it.
    """
    starts = ids.shape[-1] - n + 1
    same = tf.range(starts) + n - 1 < t
    for i in range(n - 1):
        latest = ids[..., tf.maximum(t - n + 1 + i, 0), None]
        same &= ids[..., i : i + starts] == latest
    return tf.where(same, ids[..., n - 1 :], 0)


def allowed(logits: tf.Tensor, veto: Veto) -> tf.Tensor:
    """Return the logits [B, N, V] with -inf for forbidden words."""
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
    """Return the k likeliest allowed words, the lower id first among equals.

    Probabilities are those among all words: forbidding some does not make the others likelier. The
    k likeliest words lie in those k chunks of the vocabulary that have the highest maxima. So the
    vocabulary is not sorted and no full log-softmax is computed, which is five times as fast on a
    CPU.

    Args:
        logits: [B, N, V] float32.
        veto: the forbidden words.
        k: at most V.

    Returns:
        Log-probabilities [B, N, k] float32 (-inf where fewer words are allowed) and ids [B, N, k].
    """
    chunks, highest, log_sum = _chunk_maxima(logits, veto)
    count, size = chunks.shape[-2:]
    best = tf.sort(tf.math.top_k(highest, min(k, count))[1])
    shape = tf.shape(logits)
    candidates = tf.reshape(tf.gather(chunks, best, batch_dims=2), [shape[0], shape[1], -1])
    values, places = tf.math.top_k(candidates, k)
    words = tf.gather(best, places // size, batch_dims=2) * size + places % size
    return values - log_sum, words


@compiled
def _chunk_maxima(logits: tf.Tensor, veto: Veto) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Cut the vocabulary into about sqrt(V) chunks.

    Returns:
        The allowed logits in chunks [B, N, C, S]; the maximum of each chunk [B, N, C]; the log of
        the sum of the exponentials of all logits, forbidden or not [B, N, 1].
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
