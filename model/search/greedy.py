"""Greedy search: the likeliest word at each step."""

from typing import Any

import tensorflow as tf

from model.search.loop import word_by_word
from model.search.result import SearchResult
from model.search.rules import Rules, Veto, likeliest
from model.search.step_function import StepFunction


def greedy_search(step: StepFunction, state: Any, rules: Rules) -> SearchResult:
    """Return one caption of each image, made of the likeliest word at each step.

    Args:
        step: the step function.
        state: of one caption of each image, a nest of [B, 1, ...].
        rules: what a caption may be.

    Returns:
        [B, 1, ...]; the score is the caption's log-probability.
    """

    def choose(t: tf.Tensor, logits: tf.Tensor, veto: Veto) -> tuple[tf.Tensor, tf.Tensor]:
        log_probs, words = likeliest(logits, veto, 1)
        return log_probs[..., 0], words[..., 0]

    return word_by_word(step, state, rules, choose)
