"""Beam search over a step function: in graph, for a whole batch.

A beam keeps K hypotheses of each image, finished ones among them: at every step the K of highest
log-probability. At the end they are ranked by score = log-probability / length^alpha. The length
counts `end`; alpha is the length penalty, as in fairseq's `lenpen` and Transformers'
`length_penalty`. (Wu et al. 2016, eq. 14, divide by ((5 + length) / 6)^alpha instead.) Without it,
at alpha = 0, short captions win, because every word lowers the probability. The search ends as soon
as no hypothesis can come among the best any more.
"""

import math
from typing import Any, NamedTuple

import tensorflow as tf

from model.search.result import SearchResult, put
from model.search.rules import Rules, likeliest, veto_at
from model.search.step_function import StepFunction, repeat_state

# The commands' defaults.
BEAM_SIZE = 3
LENGTH_PENALTY = 0.7


class _Beam(NamedTuple):
    """K hypotheses of each image; every field is reordered with them."""

    total: tf.Tensor  # [B, K] float32: log-probability; -inf: a place without a hypothesis
    length: tf.Tensor  # [B, K] int32: words, `end` counted
    finished: tf.Tensor  # [B, K] bool: nothing more can follow
    ids: tf.Tensor  # [B, K, T] int32
    log_probs: tf.Tensor  # [B, K, T] float32
    origins: tf.Tensor  # [B, K, T] int32: the place in the beam where each word's step was made

    def score(self, length_penalty: float) -> tf.Tensor:
        """Return the score [B, K] that each hypothesis would have if it ended here."""
        return self.total / tf.cast(tf.maximum(self.length, 1), tf.float32) ** length_penalty


def beam_search(
    step: StepFunction,
    state: Any,
    rules: Rules,
    *,
    locations: int | tf.Tensor,
    beam_size: int = BEAM_SIZE,
    length_penalty: float = LENGTH_PENALTY,
    n_best: int = 1,
    cut: bool = True,
) -> SearchResult:
    """Return the `n_best` captions of highest score, the best first.

    Args:
        step: the step function.
        state: of one caption of each image, a nest of [B, 1, ...].
        rules: what a caption may be.
        locations: L of the step function's attention.
        beam_size: K, at least `n_best`; 1 is greedy search.
        length_penalty: alpha, at least 0.
        n_best: N, captions of each image.
        cut: whether T is the longest caption's number of words, else `rules.max_length`.

    Returns:
        [B, N, ...], all different. Captions that were not found have score -inf and no words.
    """

    def body(t: tf.Tensor, tokens: tf.Tensor, state: Any, beam: _Beam, looks: tf.Tensor) -> Any:
        logits, state, alpha = step(tokens, state)
        veto = veto_at(rules, t, beam.ids, logits.shape[-1])
        log_probs, words = likeliest(logits, veto, min(beam_size, logits.shape[-1]))
        parents, log_probs, words = _best_continuations(beam, log_probs, words)
        state, beam = _reorder((state, beam), parents)
        beam = _append(beam, t, parents, log_probs, words, rules.end)
        looks = tf.tensor_scatter_nd_update(looks, [[t]], alpha[None])
        return t + 1, beam.ids[..., t], state, beam, looks

    images = tf.shape(tf.nest.flatten(state)[0])[0]
    beam = _empty_beam(images, beam_size, rules.max_length)
    tokens = tf.fill([images, beam_size], rules.start)
    # A dense tensor, because LiteRT cannot gather from a list of tensors.
    looks = tf.zeros([rules.max_length, images, beam_size, locations])
    length, _, _, beam, looks = tf.while_loop(
        lambda t, tokens, state, beam, _: _can_improve(beam, rules, length_penalty, n_best),
        body,
        (0, tokens, repeat_state(state, beam_size), beam, looks),
        maximum_iterations=rules.max_length,
    )
    scores = _final_scores(beam, length, rules.max_length, length_penalty)
    return _best_captions(beam, scores, n_best, looks, length if cut else rules.max_length)


def _empty_beam(images: tf.Tensor, beam_size: int, max_length: int) -> _Beam:
    """Return one hypothesis without words for each image."""
    exists = tf.broadcast_to(tf.range(beam_size) == 0, [images, beam_size])
    history = tf.zeros([images, beam_size, max_length], tf.int32)
    return _Beam(
        total=tf.where(exists, 0.0, -math.inf),
        length=tf.zeros([images, beam_size], tf.int32),
        finished=~exists,
        ids=history,
        log_probs=tf.cast(history, tf.float32),
        origins=history,
    )


def _can_improve(beam: _Beam, rules: Rules, length_penalty: float, n_best: int) -> tf.Tensor:
    """Return whether a hypothesis of any image can still come among its `n_best`: scalar bool."""
    # The best score still possible: no more probability is lost, over the longest caption.
    bound = beam.total / float(rules.max_length) ** length_penalty
    scores = tf.where(beam.finished, beam.score(length_penalty), -math.inf)
    to_beat = tf.math.top_k(scores, n_best)[0][:, -1:]
    return tf.reduce_any(~beam.finished & (bound > to_beat))


def _final_scores(
    beam: _Beam, length: tf.Tensor, max_length: int, length_penalty: float
) -> tf.Tensor:
    """Return the scores [B, K] of a search that ended after `length` words, -inf for no caption."""
    # An unfinished hypothesis is a caption only if it was cut at `max_length`. If the search ended
    # before, it cannot be among the best.
    complete = beam.finished | (length == max_length)
    return tf.where(complete, beam.score(length_penalty), -math.inf)


def _best_continuations(
    beam: _Beam, log_probs: tf.Tensor, words: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the K best of all continuations.

    Args:
        beam: K hypotheses of each image.
        log_probs: [B, K, k], of the likeliest words that could follow each hypothesis.
        words: [B, K, k], their ids.

    Returns:
        The hypothesis that each continues, the log-probability of its word, and the word's id:
        all [B, K].
    """
    images, beam_size, k = tf.unstack(tf.shape(log_probs))
    # A finished hypothesis is its own and only continuation.
    itself = tf.where(tf.range(k) == 0, 0.0, -math.inf)
    log_probs = tf.where(beam.finished[..., None], itself, log_probs)
    totals = beam.total[..., None] + log_probs
    totals, log_probs, words = (
        tf.reshape(x, [images, beam_size * k]) for x in (totals, log_probs, words)
    )
    best = tf.math.top_k(totals, beam.total.shape[1])[1]
    return best // k, *(tf.gather(x, best, batch_dims=1) for x in (log_probs, words))


def _append(
    beam: _Beam, t: tf.Tensor, parents: tf.Tensor, log_probs: tf.Tensor, words: tf.Tensor, end: int
) -> _Beam:
    """Append a word to the reordered hypotheses; finished ones stay as they are."""
    exists = log_probs > -math.inf
    alive = ~beam.finished & exists
    words = tf.where(alive, words, 0)
    return _Beam(
        total=beam.total + log_probs,
        length=beam.length + tf.cast(alive, tf.int32),
        finished=beam.finished | ~exists | (words == end),
        ids=put(beam.ids, t, words),
        log_probs=put(beam.log_probs, t, tf.where(alive, log_probs, 0.0)),
        origins=put(beam.origins, t, parents),
    )


def _reorder(nest: Any, parents: tf.Tensor) -> Any:
    """Pick the hypotheses `parents` [B, N] of each image: tensors [B, K, ...] -> [B, N, ...]."""

    def pick(x: tf.Tensor) -> tf.Tensor:
        # One flat gather: with batch_dims it takes twice as long.
        rows = parents + tf.range(tf.shape(x)[0])[:, None] * tf.shape(x)[1]
        return tf.gather(tf.reshape(x, [-1, *x.shape[2:]]), rows)

    return tf.nest.map_structure(pick, nest)


def _best_captions(
    beam: _Beam, scores: tf.Tensor, n_best: int, looks: tf.Tensor, length: tf.Tensor | int
) -> SearchResult:
    """Return the hypotheses of highest score as captions of the first `length` words.

    Args:
        beam: K hypotheses of each image.
        scores: [B, K].
        n_best: N, captions of each image.
        looks: [T, B, K, L], where each place in the beam looked at each step.
        length: at least the number of words of the longest caption, and at most T.
    """
    scores, best = tf.math.top_k(scores, n_best)
    beam = _reorder(beam, best)
    ids, log_probs, origins = (x[..., :length] for x in (beam.ids, beam.log_probs, beam.origins))
    attentions = tf.gather(
        tf.transpose(looks[:length], [1, 0, 2, 3]), tf.transpose(origins, [0, 2, 1]), batch_dims=2
    )
    attention = tf.transpose(attentions, [0, 2, 1, 3])  # [B, N, T, L]
    is_word = (tf.range(length) < beam.length[..., None]) & (scores > -math.inf)[..., None]
    return SearchResult(
        tf.where(is_word, ids, 0),
        tf.where(is_word, log_probs, 0.0),
        scores,
        tf.where(is_word[..., None], attention, 0.0),
    )
