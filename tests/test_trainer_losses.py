"""The objective's parts, against what they are by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.captioner import Forced
from trainer import losses

LOGITS = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32) * 3
TARGETS = np.array([1, 0, 6, 6, 2], np.int32)
LOG_P = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))


def test_cross_entropy_is_per_word():
    smoothed, plain = losses.cross_entropy(LOGITS, TARGETS)
    assert float(plain) == pytest.approx(-LOG_P[range(5), TARGETS].mean(), rel=1e-5)
    assert float(smoothed) == float(plain)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_label_smoothing_puts_its_share_on_all_words(share):
    target = np.eye(7)[TARGETS] * (1 - share) + share / 7
    smoothed, plain = losses.cross_entropy(LOGITS, TARGETS, share)
    assert float(smoothed) == pytest.approx(-(target * LOG_P).sum(-1).mean(), rel=1e-5)
    assert float(plain) == pytest.approx(-LOG_P[range(5), TARGETS].mean(), rel=1e-5)


def attention_and_real():
    """[T=3, B=2, N=2, L=4]; captions of 3, 1 and 2 words, and one that is padding."""
    attention = np.random.default_rng(1).dirichlet(np.ones(4), (3, 2, 2)).astype(np.float32)
    lengths = np.array([[3, 1], [2, 0]])
    return attention, np.arange(3)[:, None, None] < lengths


def test_doubly_stochastic_is_a_mean_over_captions():
    attention, real = attention_and_real()
    penalties = [
        ((1 - sum(attention[t, b, n] for t in range(length))) ** 2).sum()
        for b, n, length in ((0, 0, 3), (0, 1, 1), (1, 0, 2))
    ]
    found = losses.doubly_stochastic(tf.constant(attention), tf.constant(real))
    assert float(found) == pytest.approx(np.mean(penalties), rel=1e-5)
    # Attention that looks everywhere once costs nothing.
    even = tf.fill([4, 1, 1, 4], 0.25)
    assert float(losses.doubly_stochastic(even, tf.ones([4, 1, 1], tf.bool))) == pytest.approx(0)


def test_entropy_is_a_mean_over_real_words():
    attention, real = attention_and_real()
    rows = attention[real]
    assert len(rows) == 6
    found = losses.entropy(tf.constant(attention), tf.constant(real))
    assert float(found) == pytest.approx(-(rows * np.log(rows)).sum(-1).mean(), rel=1e-5)
    sharp = tf.one_hot([[[2]]], 4)  # 0 log 0 is 0
    assert float(losses.entropy(sharp, tf.ones([1, 1, 1], tf.bool))) == 0
    even = tf.fill([1, 1, 1, 4], 0.25)
    assert float(losses.entropy(even, tf.ones([1, 1, 1], tf.bool))) == pytest.approx(np.log(4))


def test_l2_is_a_sum_of_squares():
    kernels = [keras.Variable(np.full((2, 3), 2.0)), keras.Variable(np.full((4, 1), 3.0))]
    assert float(losses.l2(kernels)) == 6 * 4 + 4 * 9


def test_the_objective_weighs_its_parts():
    attention, real = attention_and_real()
    logits, targets = LOGITS[[0, 1, 2, 3, 4, 0]], TARGETS[[0, 1, 2, 3, 4, 0]]
    forced = Forced(*map(tf.constant, (logits, targets, attention, real)))
    kernels = [keras.Variable(np.full((2, 3), 2.0, np.float32))]
    found = losses.objective(
        forced, kernels, l2_weight=0.01, doubly_stochastic_weight=0.5, label_smoothing=0.3
    )
    smoothed, plain = losses.cross_entropy(logits, targets, 0.3)
    penalty = losses.doubly_stochastic(attention, real)
    assert float(found.total) == pytest.approx(float(smoothed + 0.5 * penalty) + 0.01 * 24)
    assert float(found.cross_entropy) == pytest.approx(float(plain))  # what perplexity is of
    assert float(found.doubly_stochastic) == pytest.approx(float(penalty))
    assert float(found.l2) == 24
