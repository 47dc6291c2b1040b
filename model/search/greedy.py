"""Greedy search: the likeliest word at each step."""

from typing import Any

from model.search.loop import word_by_word
from model.search.result import SearchResult
from model.search.rules import Rules, likeliest
from model.search.step_function import StepFunction


def greedy_search(step: StepFunction, state: Any, rules: Rules) -> SearchResult:
    """One caption an image: the likeliest word at each step. Score: its log-probability.

    Call arguments:
        state: of one caption an image, [B, 1, ...].
    """

    def choose(t, logits, veto):
        log_probs, words = likeliest(logits, veto, 1)
        return log_probs[..., 0], words[..., 0]

    return word_by_word(step, state, rules, choose)
