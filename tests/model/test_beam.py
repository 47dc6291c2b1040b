"""Beam search against the enumeration of every caption, and against a plain one in Python."""

import numpy as np
import pytest
import tensorflow as tf

from model.search.beam import beam_search
from model.search.greedy import greedy_search
from model.search.result import SearchResult
from model.search.rules import Rules
from tests.support.search import (
    END,
    RULES,
    L,
    Steps,
    as_arrays,
    assert_matches_definition,
    every_caption,
    plain_beam,
    words_of,
)

FUNCTIONS = 200
STEPS = Steps(FUNCTIONS)
# What a caption may be: every rule alone, and together. Some leave no word to say.
FIVE = RULES._replace(max_length=5)
RULE_SETS = {
    "none": RULES,
    "one word": RULES._replace(max_length=1),
    "unk": RULES._replace(banned=(3,)),
    "min length": FIVE._replace(min_length=3),
    "no word twice": RULES._replace(no_repeat_ngram=1),
    "no pair twice": FIVE._replace(no_repeat_ngram=2),
    "no three words twice": FIVE._replace(no_repeat_ngram=3),
    "all": RULES._replace(banned=(3,), min_length=2, no_repeat_ngram=2),
    "stuck": RULES._replace(banned=(1,), min_length=5, no_repeat_ngram=1),
}
PENALTIES = [0.0, 0.7]


def search(steps: Steps, rules: Rules, **options) -> SearchResult:
    """Search with all functions at once, without a graph, which takes a second to build."""
    return as_arrays(beam_search(steps.step, steps.state, rules, locations=L, **options))


def captions_of(result: SearchResult, image: int) -> list[tuple[int, ...]]:
    return [words_of(ids) for ids in result.ids[image]]


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("name", RULE_SETS)
def test_a_beam_as_wide_as_the_space_finds_the_optimum(name, penalty):
    rules = RULE_SETS[name]
    captions = list(every_caption(rules))
    lengths = np.array([len(ids) for ids in captions])
    totals = np.stack([STEPS.log_probs(ids).sum(-1) for ids in captions])
    scores = (totals.T / lengths**penalty).T  # [captions, B]
    n_best = min(4, len(captions))
    result = search(STEPS, rules, beam_size=len(captions), length_penalty=penalty, n_best=n_best)
    np.testing.assert_allclose(result.score, np.sort(scores, 0)[::-1][:n_best].T, atol=1e-4)
    for image in range(FUNCTIONS):
        best, second = np.argsort(-scores[:, image])[:2] if len(captions) > 1 else (0, 0)
        if scores[best, image] - scores[second, image] > 1e-4:
            assert captions_of(result, image)[0] == captions[best]


@pytest.mark.parametrize("name", ["none", "all"])
def test_a_graph_finds_the_same(name):
    options = {"beam_size": 4, "length_penalty": 0.7, "n_best": 4}

    @tf.function(autograph=False)
    def search_all() -> SearchResult:
        return beam_search(STEPS.step, STEPS.state, RULE_SETS[name], locations=L, **options)

    expected = search(STEPS, RULE_SETS[name], **options)
    found = as_arrays(search_all())
    assert_matches_definition(STEPS, found, RULE_SETS[name])
    np.testing.assert_array_equal(found.ids, expected.ids)
    for values, without_graph in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_allclose(values, without_graph, atol=1e-5)


def test_the_space_is_the_whole_of_it():
    assert len(list(every_caption(RULE_SETS["none"]))) == sum(3**i for i in range(6)) + 3**6
    assert set(every_caption(RULE_SETS["stuck"])) == {(3, 4, END), (4, 3, END)}


def test_length_normalisation_changes_the_winner():
    plain, normalised = (
        search(STEPS, RULES, beam_size=5, length_penalty=penalty) for penalty in PENALTIES
    )
    length = [sum(len(captions_of(c, i)[0]) for i in range(FUNCTIONS)) for c in (plain, normalised)]
    assert length[1] > length[0] * 1.2


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("beam_size", [2, 5])
@pytest.mark.parametrize("name", ["none", "all"])
def test_a_narrow_beam_keeps_the_likeliest(name, beam_size, penalty):
    rules = RULE_SETS[name]
    result = search(STEPS, rules, beam_size=beam_size, length_penalty=penalty, n_best=beam_size)
    same = 0
    for image in range(FUNCTIONS):
        expected = plain_beam(STEPS, image, rules, beam_size, penalty)
        scores = [score for score, _ in expected]
        np.testing.assert_allclose(result.score[image, : len(scores)], scores, atol=1e-4)
        same += captions_of(result, image)[: len(expected)] == [ids for _, ids in expected]
    assert same > 0.97 * FUNCTIONS  # the others are ties to within float32


@pytest.mark.parametrize("name", RULE_SETS)
def test_the_state_and_the_attention_go_with_their_hypothesis(name):
    result = search(STEPS, RULE_SETS[name], beam_size=4, length_penalty=0.7, n_best=4)
    assert_matches_definition(STEPS, result, RULE_SETS[name])


@pytest.mark.parametrize("penalty", PENALTIES)
def test_scores_are_sorted_distinct_and_what_they_say(penalty):
    result = search(STEPS, RULES, beam_size=6, length_penalty=penalty, n_best=6)
    assert np.all(np.diff(result.score) <= 0)
    for image in range(FUNCTIONS):
        captions = captions_of(result, image)
        assert len(set(captions)) == 6
        lengths = np.array([len(ids) for ids in captions])
        totals = result.log_probabilities[image].sum(-1)
        np.testing.assert_allclose(result.score[image], totals / lengths**penalty, atol=1e-5)


def test_finished_hypotheses_never_change():
    # A larger maximum adds captions; those that had ended keep words, score and attention.
    shorter, longer = (
        search(STEPS, RULES._replace(max_length=n), beam_size=130, length_penalty=0.7, n_best=130)
        for n in (3, 4)
    )
    for image in range(0, FUNCTIONS, 10):
        later = {ids: n for n, ids in enumerate(captions_of(longer, image))}
        ended = [
            (n, ids) for n, ids in enumerate(captions_of(shorter, image)) if ids[-1:] == (END,)
        ]
        assert len(ended) == 1 + 3 + 9
        for n, ids in ended:
            m = later[ids]
            assert shorter.score[image, n] == longer.score[image, m]
            for short, long in (
                (s[image, n], q[image, m]) for s, q in zip(shorter[1::2], longer[1::2], strict=True)
            ):
                np.testing.assert_array_equal(short, long[:3])
                assert not np.any(long[3:])


@pytest.mark.parametrize(("name", "penalty"), [*((name, 0.7) for name in RULE_SETS), ("none", 0.0)])
def test_a_beam_of_one_is_greedy(name, penalty):
    rules = RULE_SETS[name]
    result = search(STEPS, rules, beam_size=1, length_penalty=penalty)
    expected = as_arrays(greedy_search(STEPS.step, STEPS.state, rules))
    np.testing.assert_array_equal(result.ids, expected.ids)
    np.testing.assert_allclose(result.log_probabilities, expected.log_probabilities, atol=1e-5)
    np.testing.assert_allclose(result.attention, expected.attention, atol=1e-5)
    lengths = np.array(
        [[len(ids)] for ids in (captions_of(result, i)[0] for i in range(FUNCTIONS))]
    )
    np.testing.assert_allclose(result.score, expected.score / lengths**penalty, atol=1e-5)


def test_batched_equals_one_at_a_time():
    options = {"beam_size": 3, "length_penalty": 0.7, "n_best": 2}
    batched = search(STEPS, RULES, **options)
    for image in range(12):
        steps = STEPS.only(image)
        alone = beam_search(steps.step, steps.state, RULES, locations=L, **options)
        length = alone.ids.shape[-1]
        np.testing.assert_array_equal(batched.ids[image, :, :length], alone.ids[0])
        assert not np.any(batched.ids[image, :, length:])
        np.testing.assert_allclose(batched.score[image], alone.score[0], rtol=1e-5)
        np.testing.assert_allclose(
            batched.attention[image, :, :length], alone.attention[0], atol=1e-5
        )


@pytest.mark.parametrize("name", ["none", "one word", "stuck"])
def test_without_a_cut_every_result_has_all_places(name):
    rules = RULE_SETS[name]._replace(max_length=9 if name == "none" else RULE_SETS[name].max_length)
    options = {"beam_size": 3, "length_penalty": 0.7, "n_best": 3}
    steps = STEPS.only(0)
    uncut = search(steps, rules, **options, cut=False)
    cut = search(steps, rules, **options)
    length = cut.ids.shape[-1]
    assert uncut.ids.shape[-1] == uncut.attention.shape[2] == rules.max_length
    np.testing.assert_array_equal(uncut.score, cut.score)
    for values, expected in zip(
        (uncut.ids, uncut.log_probabilities, uncut.attention),
        (cut.ids, cut.log_probabilities, cut.attention),
        strict=True,
    ):
        np.testing.assert_array_equal(values[:, :, :length], expected)
        assert not np.any(values[:, :, length:])


def test_fewer_captions_than_asked_for():
    rules = RULE_SETS["stuck"]
    result = search(STEPS, rules, beam_size=7, length_penalty=0.7, n_best=4)
    for image in range(FUNCTIONS):
        assert set(captions_of(result, image)[:2]) == {(3, 4, END), (4, 3, END)}
    assert np.all(result.score[:, 2:] == -np.inf)
    assert np.all(np.isfinite(result.score[:, :2]))
    assert not any(
        np.any(x[:, 2:]) for x in (result.ids, result.log_probabilities, result.attention)
    )


# Where it stops.


def test_stops_when_every_hypothesis_is_finished():
    steps = Steps(4, end_bonus=100.0)
    rules = RULES._replace(max_length=30, min_length=2)
    result = search(steps, rules, beam_size=3, n_best=3, length_penalty=0.7)
    assert steps.calls == result.ids.shape[-1] == 3
    assert_matches_definition(steps, result, rules)


@pytest.mark.parametrize(("n_best", "penalty"), [(1, 0.0), (1, 0.7), (2, 0.7)])
def test_stops_when_no_hypothesis_can_beat_the_best(n_best, penalty):
    rules = RULES._replace(max_length=12)
    steps = Steps(20, seed=3, end_bonus=3.0)
    calls = []
    for image in range(20):
        alone = steps.only(image)
        result = beam_search(
            alone.step,
            alone.state,
            rules,
            locations=L,
            beam_size=3,
            n_best=n_best,
            length_penalty=penalty,
        )
        calls.append(alone.calls)
        expected = plain_beam(steps, image, rules, 3, penalty)[:n_best]
        np.testing.assert_allclose(result.score[0], [score for score, _ in expected], atol=1e-4)
    assert np.mean(calls) < 6
