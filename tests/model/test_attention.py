"""Measures of attention: how widely it looks, and how far it moves."""

import numpy as np
import pytest
import tensorflow as tf

from model.definition.attention import entropy, temporal_variance


def test_entropy_of_each_word():
    rows = np.random.default_rng(1).dirichlet(np.ones(4), (3, 2)).astype(np.float32)
    np.testing.assert_allclose(
        entropy(tf.constant(rows)), -(rows * np.log(rows)).sum(-1), rtol=1e-5
    )
    assert entropy(tf.one_hot([2], 4)).numpy() == [0]  # 0 log 0 is 0
    assert float(entropy(tf.fill([4], 0.25))) == pytest.approx(np.log(4))


def test_temporal_variance_is_over_the_real_words():
    attention = np.random.default_rng(1).dirichlet(np.ones(4), (2, 5)).astype(np.float32)
    real = np.arange(5) < np.array([[3], [5]])
    variance = temporal_variance(tf.constant(attention), tf.constant(real))
    expected = [attention[0, :3].var(0).sum(), attention[1].var(0).sum()]
    np.testing.assert_allclose(variance, expected, rtol=1e-5)
    still = tf.tile(tf.constant(attention[:, :1]), [1, 5, 1])
    np.testing.assert_allclose(temporal_variance(still, real), [0, 0], atol=1e-7)
    np.testing.assert_array_equal(temporal_variance(attention, np.zeros_like(real)), [0, 0])
