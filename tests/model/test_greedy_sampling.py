"""Greedy search and sampling over random step functions, checked word by word."""

import numpy as np
import pytest
import tensorflow as tf

from model.search import sampling
from model.search.greedy import greedy_search
from model.search.result import SearchResult
from model.search.rules import Veto, likeliest
from tests.support.search import (
    END,
    RULES,
    Steps,
    V,
    allowed,
    as_arrays,
    assert_matches_definition,
    words_of,
)

RULE_SETS = {
    "none": RULES,
    "banned": RULES._replace(banned=(1, 3)),
    "min length": RULES._replace(min_length=4),
    "no pair twice": RULES._replace(no_repeat_ngram=2),
    "all": RULES._replace(banned=(3,), min_length=2, no_repeat_ngram=2),
}
STEPS = Steps(100)


def greedy(steps: Steps, rules=RULES) -> SearchResult:
    return as_arrays(greedy_search(steps.step, steps.state, rules))


def by_hand(steps: Steps, image: int, rules=RULES) -> tuple[int, ...]:
    """Take the likeliest word that is allowed, again and again."""
    ids = ()
    while len(ids) < rules.max_length and END not in ids:
        log_probs = steps.after(ids)[1][image]
        ids += (max(allowed(ids, rules), key=lambda word: log_probs[word]),)
    return ids


def words_in(result: SearchResult, image: int, n: int = 0) -> tuple[int, ...]:
    return words_of(result.ids[image, n])


# Greedy.


@pytest.mark.parametrize("name", RULE_SETS)
def test_greedy_says_the_likeliest_word_that_is_allowed(name):
    rules = RULE_SETS[name]
    result = greedy(STEPS, rules)
    assert_matches_definition(STEPS, result, rules)
    expected = [by_hand(STEPS, image, rules) for image in range(100)]
    assert [words_in(result, image) for image in range(100)] == expected
    assert len({len(ids) for ids in expected}) > 1
    np.testing.assert_allclose(result.score, result.log_probabilities.sum(-1), rtol=1e-5)


def test_greedy_stops_when_all_have_ended():
    steps = Steps(30, end_bonus=4.0)
    result = greedy(steps, RULES._replace(max_length=30, no_repeat_ngram=2))
    longest = max(len(words_in(result, image)) for image in range(30))
    assert steps.calls == result.ids.shape[-1] == longest < 30
    steps = Steps(4, end_bonus=100.0)
    assert greedy(steps).ids.tolist() == [[[END]]] * 4
    assert steps.calls == 1


def test_greedy_is_cut_at_the_longest_caption():
    steps = Steps(4, end_bonus=-100.0)
    result = greedy(steps, RULES._replace(max_length=4))
    assert result.ids.shape == (4, 1, 4)
    assert np.all(result.ids > 0)
    assert END not in result.ids


def test_in_graph_and_one_at_a_time_are_the_same():
    batched = greedy(STEPS)
    search = tf.function(lambda: greedy_search(STEPS.step, STEPS.state, RULES), autograph=False)
    for eager, compiled in zip(batched, search(), strict=True):
        np.testing.assert_allclose(eager, compiled, atol=1e-5)
    for image in range(5):
        alone = greedy(STEPS.only(image))
        length = alone.ids.shape[-1]
        assert words_in(batched, image) == words_in(alone, 0)
        np.testing.assert_allclose(batched.score[image], alone.score[0], rtol=1e-5)
        np.testing.assert_allclose(
            batched.attention[image, :, :length], alone.attention[0], atol=1e-5
        )


# Sampling.


def seeds_of(images: int, seed: int = 7) -> tf.Tensor:
    return tf.stack([tf.fill([images], seed), tf.range(images)], 1)


def sample(steps: Steps, rules=RULES, seed: int = 7, **options) -> SearchResult:
    """Sample in a graph."""
    seeds = seeds_of(steps.count, seed)

    @tf.function(autograph=False)
    def sample_all() -> SearchResult:
        return sampling.sample(steps.step, steps.state, rules, seeds, **options)

    return as_arrays(sample_all())


def shares(steps: Steps, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0):
    """Return the probabilities that sampling promises for the first word: [B, V]."""
    p = np.exp(steps.after(())[1] / temperature)
    p[:, 0] = 0  # padding
    for row in p:
        order = np.argsort(-row)
        row[order[top_k or V :]] = 0
        row /= row.sum()
        before = np.cumsum(row[order]) - row[order]
        row[order[before >= top_p]] = 0
        row /= row.sum()
    return p


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 3.0},
        {"top_k": 2},
        {"top_p": 0.6},
        {"temperature": 2.0, "top_k": 3, "top_p": 0.7},
    ],
    ids=str,
)
def test_words_are_drawn_by_their_share(options):
    steps, draws = Steps(4, seed=5), 4000
    result = sample(steps, RULES._replace(max_length=1), samples=draws, **options)
    drawn = np.stack([np.bincount(ids[:, 0], minlength=V) for ids in result.ids]) / draws
    expected = shares(steps, **options)
    assert not drawn[expected == 0].any()
    np.testing.assert_allclose(drawn, expected, atol=4 * np.sqrt(0.25 / draws))
    few = SearchResult(*(part[:, :50] for part in result))
    assert_matches_definition(
        steps, few, RULES
    )  # the function's own log-probabilities, whatever the rest


@pytest.mark.parametrize("name", RULE_SETS)
def test_samples_keep_the_rules(name):
    result = sample(STEPS, RULE_SETS[name], samples=5)
    assert_matches_definition(STEPS, result, RULE_SETS[name])
    np.testing.assert_allclose(result.score, result.log_probabilities.sum(-1), rtol=1e-5)


def test_later_words_are_drawn_by_their_share_too():
    # Numbers used twice, or for all the words of a caption, would show here.
    steps, draws = Steps(1, seed=6, end_bonus=-100.0), 20000
    result = sample(steps, RULES._replace(max_length=2), samples=draws).ids[0]
    for first in (1, 3, 4):
        for second in (1, 3, 4):
            p = np.exp(steps.log_probs((first, second)).sum())
            drawn = np.mean((result[:, 0] == first) & (result[:, 1] == second))
            # Padding's share goes to the others.
            p /= np.prod([1 - np.exp(steps.after(ids)[1][0, 0]) for ids in ((), (first,))])
            assert drawn == pytest.approx(p, abs=4 * np.sqrt(0.25 / draws))


def test_a_seed_gives_the_same_captions_whatever_the_batch():
    batched = sample(STEPS, samples=3)
    for image in range(5):
        alone = STEPS.only(image)
        seeds = seeds_of(100)[image : image + 1]
        result = as_arrays(sampling.sample(alone.step, alone.state, RULES, seeds, samples=3))
        for n in range(3):
            assert words_in(result, 0, n) == words_in(batched, image, n)


def test_another_seed_another_image_another_sample_are_other_draws():
    # One function for all: what differs is the draw.
    single = Steps(1, end_bonus=-100.0)
    steps = Steps(50)
    steps.end_bonus = single.end_bonus
    for name in ("first", "recurrent", "words", "logits", "alphas"):
        setattr(steps, name, np.repeat(getattr(single, name), 50, 0))
    first, again, other = (sample(steps, seed=seed, samples=20).ids for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first.reshape(1000, -1), axis=0)) > 100
    for some, others in ((first, other), (first[1:], first[:-1]), (first[:, 1:], first[:, :-1])):
        assert np.mean(np.all(some == others, -1)) < 0.2


def test_one_word_to_choose_from_is_greedy():
    expected = greedy(STEPS)
    for options in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-3}):
        result = sample(STEPS, samples=2, **options)
        for n in range(2):
            np.testing.assert_array_equal(
                result.ids[:, n], expected.ids[:, 0], err_msg=str(options)
            )


# The k likeliest words.


@pytest.mark.parametrize("size", [2, 5, 17, 100, 101, 1000])
@pytest.mark.parametrize("k", [1, 3, 17])
def test_the_likeliest_are_those_of_a_full_log_softmax(size, k):
    k = min(k, size)
    rng = np.random.default_rng(size)
    logits = tf.constant(rng.normal(size=(4, 3, size)) * 5, tf.float32)
    ties = tf.round(logits / 4)  # many words of the same logit: the first of them win
    never = tf.constant(np.where(rng.random(size) < 0.3, -np.inf, 0), tf.float32)
    for some in (logits, ties):
        expected, words = tf.math.top_k(tf.nn.log_softmax(some) + never, k)
        log_probs, ids = likeliest(some, Veto(never, None, 0), k)
        np.testing.assert_allclose(log_probs, expected, atol=1e-5, rtol=1e-5)
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(ids.numpy()[finite], words.numpy()[finite])
