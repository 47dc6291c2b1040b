"""The loop of greedy search and sampling, whose captions do not compete with each other."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from model.search.result import SearchResult, put, stack_first
from model.search.rules import Rules, Veto, veto_at
from model.search.step_function import StepFunction

# (t, logits [B, N, V], veto) -> (log-probability [B, N] float32, word [B, N] int32).
ChooseWord = Callable[[tf.Tensor, tf.Tensor, Veto], tuple[tf.Tensor, tf.Tensor]]


def word_by_word(step: StepFunction, state: Any, rules: Rules, choose: ChooseWord) -> SearchResult:
    """Build every caption by itself, until all have ended or are cut.

    Args:
        step: the step function.
        state: of N captions of each image, a nest of [B, N, ...].
        rules: what a caption may be.
        choose: picks the next word of each caption.

    Returns:
        The captions; the score is their log-probability.
    """
    shape = tf.shape(tf.nest.flatten(state)[0])[:2]  # [B, N]
    ids = tf.zeros([shape[0], shape[1], rules.max_length], tf.int32)
    arrays = [tf.TensorArray(tf.float32, rules.max_length) for _ in range(2)]

    def body(
        t: tf.Tensor,
        tokens: tf.Tensor,
        state: Any,
        alive: tf.Tensor,
        ids: tf.Tensor,
        arrays: list[tf.TensorArray],
    ) -> tuple[tf.Tensor, tf.Tensor, Any, tf.Tensor, tf.Tensor, list[tf.TensorArray]]:
        logits, state, alpha = step(tokens, state)
        log_probs, words = choose(t, logits, veto_at(rules, t, ids, logits.shape[-1]))
        tokens = tf.where(alive, words, 0)
        values = tf.where(alive, log_probs, 0.0), tf.where(alive[..., None], alpha, 0.0)
        arrays = [array.write(t, value) for array, value in zip(arrays, values, strict=True)]
        return t + 1, tokens, state, alive & (tokens != rules.end), put(ids, t, tokens), arrays

    length, _, _, _, ids, arrays = tf.while_loop(
        lambda t, tokens, state, alive, *_: tf.reduce_any(alive),
        body,
        (0, tf.fill(shape, rules.start), state, tf.fill(shape, True), ids, arrays),
        maximum_iterations=rules.max_length,
    )
    log_probs, attention = (stack_first(array, length) for array in arrays)
    return SearchResult(ids[..., :length], log_probs, tf.reduce_sum(log_probs, -1), attention)
