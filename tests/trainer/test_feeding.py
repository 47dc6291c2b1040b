"""Scheduled sampling and word dropout: which words are fed in, and how many of them."""

import types

import numpy as np
import pytest
import tensorflow as tf

from records.vocabulary import END, UNK
from tests.support.captioner import CAPTIONS, padded, small_captioner, some_features
from tests.support.training import config
from trainer.input.feeding import fed_words
from trainer.optimizer import build_optimizer
from trainer.step import build_step

SEED = tf.constant([3, 4])


@pytest.fixture(scope="module", autouse=True)
def uncompiled():
    """Compile nothing, which would take most of the time."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def many_captions(images=40, captions=5, words=20) -> np.ndarray:
    """Return ids of captions of 1 to 18 words, and of none."""
    rng = np.random.default_rng(1)
    ids = np.zeros((images, captions, words), np.int32)
    for caption in ids.reshape(-1, words)[1:]:
        length = rng.integers(1, words - 1)
        caption[: length + 2] = [1, *rng.integers(4, 20, length), 2]
    return ids


def fed(ids, seed=SEED, progress=1.0, word=23, **flags) -> np.ndarray:
    """Return the words fed in where the likeliest word is always the same one."""
    captioner = types.SimpleNamespace(
        likeliest_words=lambda features, ids: tf.fill(tf.shape(ids[:, :, 1:]), word)
    )
    features = tf.zeros([len(ids), 1, 1])
    words = fed_words(config(**flags), captioner, features, tf.constant(ids), seed, progress)
    return words.numpy()


def test_without_the_flags_a_caption_is_fed_its_own_words():
    ids = tf.constant(many_captions())
    assert fed_words(config(), None, None, ids, SEED, tf.constant(1.0)) is None


@pytest.mark.parametrize(
    ("flags", "word"), [({"word_dropout": 0.3}, UNK), ({"scheduled_sampling": 0.3}, 23)]
)
def test_a_share_of_the_words_is_replaced_and_start_stays(flags, word):
    ids = many_captions()
    own, words = ids[:, :, :-1], fed(ids, **flags)
    inner = (own > END) & (np.arange(own.shape[-1]) > 0)
    assert {*np.unique(words[words != own])} == {word}
    np.testing.assert_array_equal(words[~inner], own[~inner])
    assert (words != own)[inner].mean() == pytest.approx(0.3, abs=0.03)
    np.testing.assert_array_equal(words, fed(ids, **flags))
    assert np.any(words != fed(ids, seed=tf.constant([3, 5]), **flags))
    assert np.any(words != fed(ids, seed=tf.constant([2, 4]), **flags))


def test_the_share_of_the_models_words_rises_over_the_training():
    ids = many_captions()
    own = ids[:, :, :-1]
    shares = [
        (fed(ids, progress=done, scheduled_sampling=0.8) != own)[own > END].mean()
        for done in (0.0, 0.5, 1.0)
    ]
    assert shares[0] == 0
    assert shares[1:] == pytest.approx([0.4, 0.8], abs=0.03)


@pytest.mark.parametrize("word", [0, 1, END])
def test_a_model_that_would_end_the_caption_is_fed_the_captions_word(word):
    ids = many_captions()
    np.testing.assert_array_equal(fed(ids, word=word, scheduled_sampling=1.0), ids[:, :, :-1])


def test_the_two_replace_other_words():
    ids = many_captions()
    words = fed(ids, scheduled_sampling=0.5, word_dropout=0.5)
    inner = ids[:, :, :-1] > END
    shares = [(words[inner] == word).mean() for word in (UNK, 23)]
    assert shares == pytest.approx([0.5, 0.25], abs=0.03)


def test_a_step_feeds_the_words_that_the_model_finds_likeliest_before_it():
    recipe = config(dropout=0.0, scheduled_sampling=1.0, learning_rate=0.0, warmup_steps=0)
    captioner = small_captioner()
    optimizer = build_optimizer(recipe, 4)
    optimizer.build(captioner.trainable_variables)
    step = build_step(recipe, captioner, optimizer)
    features, ids = some_features(), padded(CAPTIONS)
    losses = [float(step(features, ids)["cross_entropy"]) for _ in range(5)]
    words = captioner.likeliest_words(features, ids).numpy()[:, :, :-1]
    own = ids.numpy()[:, :, 1:-1]
    inner = np.where((ids.numpy()[:, :, 2:] != 0) & (words > END), words, own)
    replaced = tf.constant(np.concatenate([ids.numpy()[:, :, :1], inner], -1))

    def loss(words):
        forced = captioner.teacher_force(features, ids, fed=words)
        return float(tf.reduce_sum(forced.nll)) / int(tf.math.count_nonzero(forced.real))

    assert losses[0] == pytest.approx(loss(None), rel=1e-5)
    assert losses[4] == pytest.approx(loss(replaced), rel=1e-5)
    assert abs(losses[4] - losses[0]) > 1e-2
