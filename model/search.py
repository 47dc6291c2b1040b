"""Captions from a step function: in graph, batched, knowing no model."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

# (tokens [B, K], state) -> (logits [B, K, V], new state, attention [B, K, L])
Step = Callable[[tf.Tensor, Any], tuple[tf.Tensor, Any, tf.Tensor]]


class Captions(NamedTuple):
    """One caption for each of B images."""

    ids: tf.Tensor  # [B, T] int32: words, then `end`, then 0
    log_probability: tf.Tensor  # [B] float32: of the words and `end`
    attention: tf.Tensor  # [B, T, L] float32: where each word looked


def greedy(
    step: Step,
    state: Any,
    images: int | tf.Tensor,
    *,
    start: int,
    end: int,
    banned: Sequence[int] = (),
    max_length: int = 30,
) -> Captions:
    """The likeliest word at each step, until `end` or `max_length` words.

    Call arguments:
        step: one word; called with tokens [B, 1].
        state: any nest of tensors that `step` takes and returns in the same shapes.
        images: B.
        start, end: ids that open and close a caption.
        banned: ids that are never said.
    """
    ids = tf.TensorArray(tf.int32, max_length)
    attention = tf.TensorArray(tf.float32, max_length)
    tokens = tf.fill([images, 1], start)
    unfinished = tf.ones([images, 1], tf.bool)
    score = tf.zeros([images, 1])

    def body(t, tokens, state, unfinished, score, ids, attention):
        logits, state, alpha = step(tokens, state)
        log_probs = tf.nn.log_softmax(logits)  # over all words: a ban does not make others likelier
        if banned:
            never = tf.reduce_sum(tf.one_hot(list(banned), tf.shape(logits)[-1]), 0) > 0
            log_probs = tf.where(never, log_probs.dtype.min, log_probs)
        best = tf.argmax(log_probs, -1, tf.int32)
        tokens = tf.where(unfinished, best, 0)
        score += tf.where(unfinished, tf.reduce_max(log_probs, -1), 0.0)
        ids, attention = ids.write(t, tokens[:, 0]), attention.write(t, alpha[:, 0])
        return t + 1, tokens, state, unfinished & (best != end), score, ids, attention

    length, _, _, _, score, ids, attention = tf.while_loop(
        lambda t, tokens, state, unfinished, *_: tf.reduce_any(unfinished),
        body,
        (0, tokens, state, unfinished, score, ids, attention),
        maximum_iterations=max_length,
    )
    # Elements past `length` were never written: stack() would not know their shape.
    steps = tf.range(length)
    return Captions(
        tf.transpose(ids.gather(steps)),
        score[:, 0],
        tf.transpose(attention.gather(steps), [1, 0, 2]),
    )
