"""Random step functions, and what a search must find in them, by enumeration.

The logits depend on all words so far, through the state. A search that mixes up the states of its
captions therefore gets other logits.
"""

import functools
import itertools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from model.search.result import SearchResult
from model.search.rules import Rules

V, L, STATE = 5, 4, 6
START, END = 1, 2
RULES = Rules(START, END, max_length=6)


class Steps:
    """B step functions in one batch; each image has random weights of its own."""

    def __init__(self, count: int, seed: int = 0, end_bonus: float = 0.0):
        rng = np.random.default_rng(seed)
        self.count = count
        self.first = rng.normal(size=(count, 1, STATE))
        self.recurrent = rng.normal(size=(count, STATE, STATE))
        self.words = rng.normal(size=(count, V, STATE))
        self.logits = rng.normal(size=(count, STATE, V)) * 1.5
        self.alphas = rng.normal(size=(count, STATE, L)) * 2
        self.end_bonus = np.eye(V)[END] * end_bonus
        self.calls = 0

    def only(self, image: int) -> "Steps":
        """Return the step function of one image alone."""
        other = Steps(1)
        for name in ("first", "recurrent", "words", "logits", "alphas"):
            setattr(other, name, getattr(self, name)[image : image + 1])
        other.end_bonus = self.end_bonus
        return other

    @property
    def state(self) -> tf.Tensor:
        return tf.constant(self.first, tf.float32)

    def step(self, tokens, state):
        """Be the step function that a search calls."""
        self.calls += 1
        words = tf.gather(tf.constant(self.words, tf.float32), tokens, batch_dims=1)
        state = tf.tanh(tf.matmul(state, self.recurrent.astype(np.float32)) + words)
        logits = tf.matmul(state, self.logits.astype(np.float32)) + self.end_bonus
        return logits, state, tf.nn.softmax(tf.matmul(state, self.alphas.astype(np.float32)))

    @functools.cache  # noqa: B019  a test's own object
    def after(self, ids: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Define state, log-probabilities [B, V] of the word after `ids`, and alpha [B, L]."""
        state = self.after(ids[:-1])[0] if ids else self.first[:, 0]
        word = self.words[:, ids[-1] if ids else START]
        state = np.tanh(np.einsum("bs,bst->bt", state, self.recurrent) + word)
        logits = np.einsum("bs,bsv->bv", state, self.logits) + self.end_bonus
        alphas = np.exp(np.einsum("bs,bsl->bl", state, self.alphas))
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return state, log_probs, alphas / alphas.sum(-1, keepdims=True)

    def log_probs(self, ids: tuple[int, ...]) -> np.ndarray:
        """Return the log-probability of each word of a caption: [B, T]."""
        return np.stack([self.after(ids[:t])[1][:, word] for t, word in enumerate(ids)], -1)


def allowed(ids: tuple[int, ...], rules: Rules) -> list[int]:
    """Return the words that may follow."""
    n = rules.no_repeat_ngram
    before = {ids[i : i + n] for i in range(len(ids) - n + 1)} if n else set()
    words = [w for w in range(1, V) if w not in rules.banned]
    words = [w for w in words if not n or (*ids, w)[-n:] not in before or len(ids) < n - 1]
    words = [w for w in words if w != rules.end or len(ids) >= rules.min_length]
    return words or [rules.end]


def every_caption(rules: Rules, ids: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Yield all captions that the rules allow: those that end and those that are cut."""
    if ids and (ids[-1] == rules.end or len(ids) == rules.max_length):
        yield ids
    else:
        for word in allowed(ids, rules):
            yield from every_caption(rules, (*ids, word))


def plain_beam(
    steps: Steps, image: int, rules: Rules, beam_size: int, length_penalty: float
) -> list[tuple[float, tuple[int, ...]]]:
    """Search one image with a beam, in plain Python to the end: (score, ids), the best first."""
    beams = [(0.0, ())]
    for _ in range(rules.max_length):
        candidates = []
        for total, ids in beams:
            if ids and ids[-1] == rules.end:
                candidates.append((total, ids))
                continue
            log_probs = steps.after(ids)[1][image]
            candidates += [(total + log_probs[w], (*ids, w)) for w in allowed(ids, rules)]
        beams = sorted(candidates, reverse=True)[:beam_size]
    return sorted(((total / len(ids) ** length_penalty, ids) for total, ids in beams), reverse=True)


def words_of(ids: np.ndarray) -> tuple[int, ...]:
    """Return the words of ids [T] up to `end`, with it; everything after it must be 0."""
    words = tuple(itertools.takewhile(bool, map(int, ids)))
    words = words[: words.index(END) + 1] if END in words else words
    assert not any(ids[len(words) :]), ids
    return words


def as_arrays(result: SearchResult) -> SearchResult:
    """Return a result whose parts are NumPy arrays: slices of tensors are slow one at a time."""
    return SearchResult(*(np.asarray(part) for part in result))


def assert_matches_definition(steps: Steps, result: SearchResult, rules: Rules) -> None:
    """Check that every word keeps the rules and has the definition's log-probability and alpha."""
    ids, log_probs, score, alphas = as_arrays(result)
    for image, n in np.ndindex(ids.shape[:2]):
        words = words_of(ids[image, n])
        if not words:
            assert score[image, n] == -np.inf
            assert not log_probs[image, n].any()
            continue
        for t, word in enumerate(words):
            assert word in allowed(words[:t], rules), words
        expected = steps.log_probs(words)[image]
        np.testing.assert_allclose(log_probs[image, n, : len(words)], expected, atol=1e-4)
        expected = [steps.after(words[:t])[2][image] for t in range(len(words))]
        np.testing.assert_allclose(alphas[image, n, : len(words)], expected, atol=1e-4)
        assert not log_probs[image, n, len(words) :].any()
        assert not alphas[image, n, len(words) :].any()
