"""The terms of the objective, against the same computed by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.definition.attention import entropy
from model.definition.forcing import ForcingResult
from trainer import losses


def test_cross_entropy_is_per_word():
    values = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    real = values % 3 == 0  # 0, 3, 6, 9
    assert float(losses.mean(tf.constant(values), tf.constant(real))) == pytest.approx(4.5)


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
    penalty = losses.doubly_stochastic(tf.constant(attention), tf.constant(real))
    assert float(penalty) == pytest.approx(np.mean(penalties), rel=1e-5)
    # Attention that looks everywhere once costs nothing.
    even = tf.fill([4, 1, 1, 4], 0.25)
    assert float(losses.doubly_stochastic(even, tf.ones([4, 1, 1], tf.bool))) == pytest.approx(0)


def test_l2_is_a_sum_of_squares():
    kernels = [keras.Variable(np.full((2, 3), 2.0)), keras.Variable(np.full((4, 1), 3.0))]
    assert float(losses.l2(kernels)) == 6 * 4 + 4 * 9


def test_the_objective_weighs_its_terms():
    attention, real = attention_and_real()
    nll, smoothed = np.random.default_rng(3).exponential(size=(2, *real.shape)).astype(np.float32)
    forced = ForcingResult(*map(tf.constant, (smoothed, nll, attention, real)))
    kernels = [keras.Variable(np.full((2, 3), 2.0, np.float32))]
    result = losses.objective(
        forced,
        kernels,
        l2_weight=0.01,
        doubly_stochastic_weight=0.5,
        attention_entropy_weight=0.2,
    )
    penalty = float(losses.doubly_stochastic(attention, real))
    rows = attention[real]  # of real words only
    mean_entropy = -(rows * np.log(rows)).sum(-1).mean()
    assert float(result.total) == pytest.approx(
        smoothed[real].mean() + 0.5 * penalty + 0.01 * 24 + 0.2 * mean_entropy
    )
    assert float(result.cross_entropy) == pytest.approx(nll[real].mean())  # perplexity is of it
    assert float(result.doubly_stochastic) == pytest.approx(penalty)
    assert float(result.l2) == 24
    assert float(result.attention_entropy) == pytest.approx(mean_entropy, rel=1e-5)


def test_entropy_below_its_floor_costs_nothing():
    attention, real = attention_and_real()
    attention[0, 0, 0] = [1, 0, 0, 0]
    zeros = tf.zeros(real.shape)
    forced = ForcingResult(zeros, zeros, tf.constant(attention), tf.constant(real))
    options = {"l2_weight": 0.0, "doubly_stochastic_weight": 0.0}
    rows = np.maximum(attention[real], 1e-30)
    entropies = -(rows * np.log(rows)).sum(-1)
    floor = float(np.median(entropies))
    for weight in (0.0, 0.2):
        result = losses.objective(
            forced,
            [keras.Variable(np.ones((2, 3), np.float32))],
            attention_entropy_weight=weight,
            attention_entropy_floor=floor,
            **options,
        )
        above = np.maximum(entropies - floor, 0)
        assert 0 < np.count_nonzero(above) < len(above)
        assert float(result.total) == pytest.approx(weight * above.mean(), rel=1e-5)
        assert float(result.attention_entropy) == pytest.approx(entropies.mean(), rel=1e-5)


def test_without_an_attention_its_terms_are_not_logged():
    result = losses.Losses(*map(tf.constant, (1.0, 2.0, 3.0, 4.0, 5.0)))
    assert result.scalars(attends=True) == result._asdict()
    assert result.scalars(attends=False).keys() == {"total", "cross_entropy", "l2"}


def test_attention_of_a_single_place_has_a_gradient():
    """0 log 0: softmax gives exact zeros, and padding does."""
    energy = tf.constant([[0.0, -200.0, -300.0]])
    with tf.GradientTape() as tape:
        tape.watch(energy)
        spread = tf.reduce_sum(entropy(tf.nn.softmax(energy)))
    assert float(spread) == pytest.approx(0)
    assert np.isfinite(tape.gradient(spread, energy)).all()
