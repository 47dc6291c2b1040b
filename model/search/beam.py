"""Beam search over a step function: in graph, batched, knowing no model.

A beam holds K hypotheses of each image, finished ones among them, and keeps the K of highest
log-probability at every step. What is returned is ranked by score = log-probability / length^alpha,
where length counts `end` and alpha is the length penalty: the normalisation of fairseq's `lenpen`
and of Transformers' `length_penalty`; Wu et al. 2016 (eq. 14) divide by ((5 + length) / 6)^alpha.
Without it (alpha = 0) short captions win, for every word costs probability.
"""

import math
from typing import Any, NamedTuple

import tensorflow as tf

from model.search.result import SearchResult, put, stacked
from model.search.rules import Rules, likeliest, vetoes
from model.search.step_function import StepFunction, repeat_state

BEAM_SIZE = 3
LENGTH_PENALTY = 0.7


class _Beam(NamedTuple):
    """K hypotheses of each image. All of it goes through the reordering."""

    total: tf.Tensor  # [B, K] float32: log-probability; -inf: a place without a hypothesis
    length: tf.Tensor  # [B, K] int32: words said, `end` counted
    finished: tf.Tensor  # [B, K] bool: nothing more can be said
    ids: tf.Tensor  # [B, K, T] int32
    log_probs: tf.Tensor  # [B, K, T] float32
    origins: tf.Tensor  # [B, K, T] int32: the place in the beam where each word's step was made

    def score(self, length_penalty: float) -> tf.Tensor:
        """[B, K], of each hypothesis if it were to end here."""
        return self.total / tf.cast(tf.maximum(self.length, 1), tf.float32) ** length_penalty


def beam_search(
    step: StepFunction,
    state: Any,
    rules: Rules,
    *,
    beam_size: int = BEAM_SIZE,
    length_penalty: float = LENGTH_PENALTY,
    n_best: int = 1,
) -> SearchResult:
    """The `n_best` captions of highest score that a beam finds, the best first.

    They are distinct. Where an image has fewer, the rest have a score of -inf and no words. The
    search ends when no hypothesis can come among the best any more.

    Call arguments:
        state: of one caption an image, [B, 1, ...].
        beam_size: K, at least `n_best`; 1 is greedy search.
        length_penalty: alpha, at least 0.
    """
    images = tf.shape(tf.nest.flatten(state)[0])[0]

    def body(t, tokens, state, beams, looks):
        logits, state, alpha = step(tokens, state)
        veto = vetoes(rules, t, beams.ids, logits.shape[-1])
        log_probs, words = likeliest(logits, veto, min(beam_size, logits.shape[-1]))
        parents, log_probs, words = _best(beams, log_probs, words)
        state, beams = _reorder((state, beams), parents)
        beams = _grown(beams, t, parents, log_probs, words, rules.end)
        return t + 1, beams.ids[..., t], state, beams, looks.write(t, alpha)

    def hope(t, tokens, state, beams, looks):
        # The best that can still come: no probability lost any more, over the longest caption.
        bound = beams.total / float(rules.max_length) ** length_penalty
        scores = tf.where(beams.finished, beams.score(length_penalty), -math.inf)
        to_beat = tf.math.top_k(scores, n_best)[0][:, -1:]
        return tf.reduce_any(~beams.finished & (bound > to_beat))

    beams = _first(images, beam_size, rules.max_length)
    tokens = tf.fill([images, beam_size], rules.start)
    looks = tf.TensorArray(tf.float32, rules.max_length)
    length, _, _, beams, looks = tf.while_loop(
        hope,
        body,
        (0, tokens, repeat_state(state, beam_size), beams, looks),
        maximum_iterations=rules.max_length,
    )
    # Unfinished ones are complete at `max_length` only; before, nobody needs them.
    complete = beams.finished | (length == rules.max_length)
    scores, best = tf.math.top_k(tf.where(complete, beams.score(length_penalty), -math.inf), n_best)
    return _captions(_reorder(beams, best), scores, stacked(looks, length), length)


def _first(images: tf.Tensor, beam_size: int, max_length: int) -> _Beam:
    """One hypothesis an image, with nothing said yet."""
    there = tf.broadcast_to(tf.range(beam_size) == 0, [images, beam_size])
    history = tf.zeros([images, beam_size, max_length], tf.int32)
    return _Beam(
        total=tf.where(there, 0.0, -math.inf),
        length=tf.zeros([images, beam_size], tf.int32),
        finished=~there,
        ids=history,
        log_probs=tf.cast(history, tf.float32),
        origins=history,
    )


def _best(
    beams: _Beam, log_probs: tf.Tensor, words: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The K best of all continuations.

    Call arguments:
        log_probs, words: [B, K, k], the likeliest continuations of each hypothesis.

    Returns: the hypothesis that each continues, its word's log-probability and id: all [B, K].
    """
    images, beam_size, k = tf.unstack(tf.shape(log_probs))
    # A finished hypothesis is its own and only continuation.
    itself = tf.where(tf.range(k) == 0, 0.0, -math.inf)
    log_probs = tf.where(beams.finished[..., None], itself, log_probs)
    totals = beams.total[..., None] + log_probs
    totals, log_probs, words = (
        tf.reshape(x, [images, beam_size * k]) for x in (totals, log_probs, words)
    )
    best = tf.math.top_k(totals, beams.total.shape[1])[1]
    return best // k, *(tf.gather(x, best, batch_dims=1) for x in (log_probs, words))


def _grown(
    beams: _Beam, t: tf.Tensor, parents: tf.Tensor, log_probs: tf.Tensor, words: tf.Tensor, end: int
) -> _Beam:
    """Reordered hypotheses with a word more; finished ones stay as they are."""
    there = log_probs > -math.inf
    alive = ~beams.finished & there
    words = tf.where(alive, words, 0)
    return _Beam(
        total=beams.total + log_probs,
        length=beams.length + tf.cast(alive, tf.int32),
        finished=beams.finished | ~there | (words == end),
        ids=put(beams.ids, t, words),
        log_probs=put(beams.log_probs, t, tf.where(alive, log_probs, 0.0)),
        origins=put(beams.origins, t, parents),
    )


def _reorder(nest: Any, parents: tf.Tensor) -> Any:
    """Tensors [B, K, ...] -> [B, N, ...]: of the hypotheses at `parents` [B, N] of each image."""

    def pick(x):
        # One flat gather: with batch_dims it takes twice as long.
        rows = parents + tf.range(tf.shape(x)[0])[:, None] * tf.shape(x)[1]
        return tf.gather(tf.reshape(x, [-1, *x.shape[2:]]), rows)

    return tf.nest.map_structure(pick, nest)


def _captions(beams: _Beam, scores: tf.Tensor, looks: tf.Tensor, length: tf.Tensor) -> SearchResult:
    """What was found, cut to the longest; looks [B, K, T, L] are in the order of each step."""
    ids, log_probs, origins = (x[..., :length] for x in (beams.ids, beams.log_probs, beams.origins))
    looks = tf.gather(
        tf.transpose(looks, [0, 2, 1, 3]), tf.transpose(origins, [0, 2, 1]), batch_dims=2
    )
    attention = tf.transpose(looks, [0, 2, 1, 3])  # [B, N, T, L]
    said = (tf.range(length) < beams.length[..., None]) & (scores > -math.inf)[..., None]
    return SearchResult(
        tf.where(said, ids, 0),
        tf.where(said, log_probs, 0.0),
        scores,
        tf.where(said[..., None], attention, 0.0),
    )
