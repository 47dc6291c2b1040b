"""Sampling: words drawn by their probability."""

import math
from typing import Any

import tensorflow as tf

from model.search.loop import word_by_word
from model.search.result import SearchResult
from model.search.rules import Rules, Veto, allowed
from model.search.step_function import StepFunction, repeat_state


def sample(
    step: StepFunction,
    state: Any,
    rules: Rules,
    seeds: tf.Tensor,
    *,
    samples: int = 1,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> SearchResult:
    """Draw captions of each image, word by word.

    An image's captions depend on its seed alone, not on what else is in the batch.

    Args:
        step: the step function.
        state: of one caption of each image, a nest of [B, 1, ...].
        rules: what a caption may be.
        seeds: [B, 2] int, one for each image.
        samples: N, captions of each image, drawn independently and in no order.
        temperature: divides the logits; below 1 makes likely words likelier.
        top_k: draw from so many likeliest words; 0: from all.
        top_p: of those, draw from the fewest likeliest that together have this share of the
            probability (nucleus sampling, Holtzman et al. 2020); 1: from all.

    Returns:
        [B, N, ...]; the score is the caption's log-probability. Log-probabilities are those of the
        step function, before temperature, top-k and top-p.
    """
    # One random number for each word says where the draw falls among the summed shares.
    numbers = tf.map_fn(
        lambda seed: tf.random.stateless_uniform([samples, rules.max_length], seed),
        seeds,
        fn_output_signature=tf.float32,
    )  # [B, N, T]

    def choose(t: tf.Tensor, logits: tf.Tensor, veto: Veto) -> tuple[tf.Tensor, tf.Tensor]:
        sums = tf.cumsum(_shares(allowed(logits, veto) / temperature, top_k, top_p), -1)
        # Numbers are at most 1 - 2**-23, so the product stays below the last sum: a word with the
        # share 0 is never drawn.
        passed = sums <= numbers[:, :, t, None] * sums[..., -1:]
        words = tf.reduce_sum(tf.cast(passed, tf.int32), -1)
        log_probs = tf.gather(logits, words, batch_dims=2) - tf.reduce_logsumexp(logits, -1)
        return log_probs, words

    return word_by_word(step, repeat_state(state, samples), rules, choose)


def _shares(logits: tf.Tensor, top_k: int, top_p: float) -> tf.Tensor:
    """Return probabilities [B, N, V], 0 outside the top k and the nucleus, not normalised again."""
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
