"""What a word loses when places are hidden from it, computed once more by hand."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from model.caption_generator import CaptionGenerator
from model.definition.lstm import State
from model.hiding import hidden_places
from tests.support.captioner import LOCATIONS, small_captioner, some_features

IDS = np.array([[1, 5, 6, 7], [1, 8, 2, 0]], np.int32)
DRAWS = 3


def log_p(decoder, token, word, state, memory, weights) -> tuple[float, State]:
    """Return log p(word) and the state after `token`, with these weights over the places."""
    words = decoder.embed(tf.constant([[token]]))
    context = tf.constant(weights, tf.float32)[None, None] @ memory.values
    state, z = decoder.read(decoder.word_gates(words), state, context)
    logits = decoder.logits(decoder.deep_output(state.h, z, words))
    return float(tf.nn.log_softmax(logits)[0, 0, word]), state


@pytest.mark.parametrize("kind", [{}, {"attention": "static", "gate": False}])
@pytest.mark.parametrize("hidden", [1, 2])
def test_drops_are_those_of_a_word_that_sees_the_other_places(kind, hidden, monkeypatch):
    monkeypatch.setattr("model.hiding.SHARE", hidden / LOCATIONS)
    captioner = small_captioner(**kind)
    decoder, features = captioner.decoder, some_features(len(IDS))
    numbers = np.random.default_rng(1).random((2, 3, DRAWS, LOCATIONS), np.float32)
    drops = CaptionGenerator([captioner]).drops([features], tf.constant(IDS), tf.constant(numbers))
    even = np.full(LOCATIONS, 1 / LOCATIONS)
    for b, ids in enumerate(IDS):
        memory = decoder.memory(features[b : b + 1])
        state = decoder.initial_state(memory, 1)
        for t, (token, word) in enumerate(itertools.pairwise(ids)):
            own = decoder.attention(state.h, memory.keys, memory.values)[1].numpy()[0, 0]

            def lost(weights, ranked, token=token, word=word, state=state, memory=memory):
                without = weights.copy()
                without[np.argsort(ranked)[-hidden:]] = 0
                pair = (
                    log_p(decoder, token, word, state, memory, w)[0] for w in (weights, without)
                )
                return float(np.subtract(*pair))

            for weights, most, random in (
                (own, drops.most, drops.random),
                (even, drops.even_most, drops.even_random),
            ):
                assert float(most[b, t]) == pytest.approx(lost(weights, own), abs=2e-5)
                of_draws = [lost(weights, ranked) for ranked in numbers[b, t]]
                assert float(random[b, t]) == pytest.approx(np.mean(of_draws), abs=2e-5)
            # The next word follows one that has seen everything.
            _, state = log_p(decoder, token, word, state, memory, own)


def test_a_tenth_of_the_places_is_hidden_and_at_least_one():
    assert [hidden_places(locations) for locations in (1, 6, 49, 64, 121)] == [1, 1, 5, 6, 12]


def test_of_an_ensemble_the_words_lose_what_the_first_that_looks_loses():
    blind, looking = small_captioner(seed=3, attention="none"), small_captioner()
    features, numbers = some_features(2), tf.random.stateless_uniform([2, 3, 2, LOCATIONS], (0, 1))
    together = CaptionGenerator([blind, looking]).drops([features[:, :2], features], IDS, numbers)
    alone = CaptionGenerator([looking]).drops([features], IDS, numbers)
    for x, y in zip(together, alone, strict=True):
        np.testing.assert_array_equal(x, y)
    assert np.abs(alone.most).max() > 1e-3
