"""The loop of greedy search and sampling: captions that do not compete, word by word."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from model.search.result import SearchResult, put, stacked
from model.search.rules import Rules, vetoes
from model.search.step_function import StepFunction


def word_by_word(step: StepFunction, state: Any, rules: Rules, choose: Callable) -> SearchResult:
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
    return SearchResult(ids[..., :length], log_probs, tf.reduce_sum(log_probs, -1), attention)
