"""Sampling: words drawn by their probability."""

import math
from typing import Any

import tensorflow as tf

from model.search.loop import word_by_word
from model.search.result import SearchResult
from model.search.rules import Rules, allowed
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

    return word_by_word(step, repeat_state(state, samples), rules, choose)


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
