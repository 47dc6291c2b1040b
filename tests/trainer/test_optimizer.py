"""The update: what Keras, autodiff and a clipped global norm give, in fewer passes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.definition import forcing
from tests.support.captioner import CAPTIONS, padded, small_captioner, some_features
from tests.support.training import config
from trainer.optimizer import build_optimizer, warmup_remark
from trainer.step import build_step


def test_learning_rate_warms_up_and_decays_to_nothing():
    schedule = build_optimizer(config(warmup_steps=10, learning_rate=0.1), 110)._learning_rate
    rates = [float(schedule(step)) for step in (0, 5, 10, 60, 110)]
    np.testing.assert_allclose(rates, [0, 0.05, 0.1, 0.05, 0], atol=1e-6)
    short = build_optimizer(config(warmup_steps=200, learning_rate=0.1), 10)._learning_rate
    assert float(short(5)) == pytest.approx(0.1)  # a run shorter than its warm-up still learns
    none = build_optimizer(config(warmup_steps=0, learning_rate=0.1), 10)._learning_rate
    assert float(none(0)) == pytest.approx(0.1)


def test_steps_decay_the_learning_rate_by_the_epoch():
    flags = {"schedule": "step", "decay_factor": 0.5, "decay_epochs": 2, "learning_rate": 0.1}
    schedule = build_optimizer(config(warmup_steps=10, **flags), 110, 20)._learning_rate
    rates = [float(schedule(step)) for step in (0, 5, 10, 39, 40, 79, 80)]
    np.testing.assert_allclose(rates, [0, 0.05, 0.1, 0.1, 0.05, 0.05, 0.025], atol=1e-6)
    none = build_optimizer(config(warmup_steps=0, **flags), 110, 20)._learning_rate
    np.testing.assert_allclose([float(none(step)) for step in (0, 39, 40)], [0.1, 0.1, 0.05])
    flags["decay_factor"] = 1.0
    constant = build_optimizer(config(warmup_steps=0, **flags), 110, 20)._learning_rate
    np.testing.assert_allclose([float(constant(step)) for step in (0, 109)], 0.1)


def test_a_warm_up_of_half_the_schedule_or_more_is_remarked():
    assert warmup_remark(config(warmup_steps=4), 10) is None
    assert warmup_remark(config(warmup_steps=0), 1) is None
    for steps in (5, 2000):
        remark = warmup_remark(config(warmup_steps=steps, learning_rate=0.1), 10)
        assert f"--warmup_steps={steps}: the schedule has 10 steps" in remark
        assert "reaches its peak, 0.1, at step 5; lower --warmup_steps" in remark


def by_the_book(config, captioner, optimizer, features, ids):
    """A step as autodiff, TensorFlow and Keras have it: the gradient's norm."""
    decoder = captioner.decoder
    variables = decoder.trainable_variables
    seed = tf.stack([config.seed, tf.cast(optimizer.iterations, tf.int32)])
    with tf.GradientTape() as tape:
        forced = forcing.teacher_force(
            decoder, features, ids, config.dropout, seed, config.label_smoothing
        )
        real = tf.cast(forced.real, tf.float32)
        total = tf.reduce_sum(forced.losses) / tf.reduce_sum(real)
        looked = tf.reduce_sum(real[..., None] * forced.attention, 0)
        penalty = tf.boolean_mask(
            tf.reduce_sum((1 - looked) ** 2, -1), tf.reduce_any(forced.real, 0)
        )
        total += config.doubly_stochastic * tf.reduce_mean(penalty)
        words = -tf.reduce_sum(forced.attention * tf.math.log(forced.attention), -1)
        total += config.attention_entropy * tf.reduce_sum(words * real) / tf.reduce_sum(real)
        total += config.l2 * tf.add_n([tf.reduce_sum(k.value**2) for k in decoder.dense_kernels])
    gradients = [tf.convert_to_tensor(g) for g in tape.gradient(total, variables)]
    gradients, norm = tf.clip_by_global_norm(gradients, config.clip_norm)
    optimizer.apply_gradients(zip(gradients, variables, strict=True))
    return float(total), float(norm)


# Every step's gradient is longer than the first of these norms and shorter than the second.
@pytest.mark.parametrize(
    ("clip_norm", "l2"),
    [
        (0.3, 0.01),
        (100.0, 0.0),
        pytest.param(0.3, 0.0, marks=pytest.mark.slow),
        pytest.param(100.0, 0.01, marks=pytest.mark.slow),
    ],
)
def test_a_step_is_what_the_book_says(clip_norm, l2):
    """The slow cases are the other two pairs of the values that the quick ones have."""
    weights = {"l2": l2, "doubly_stochastic": 0.5, "attention_entropy": 0.3}
    recipe = config(clip_norm=clip_norm, label_smoothing=0.1, learning_rate=1e-2, **weights)
    captioner, reference = small_captioner(), small_captioner()
    ours = build_optimizer(recipe, 20)
    ours.build(captioner.trainable_variables)
    keras_own = keras.optimizers.Adam(ours._learning_rate, name="adam")
    keras_own.build(reference.decoder.trainable_variables)
    step = build_step(recipe, captioner, ours)
    features, ids = some_features(), padded(CAPTIONS)
    for number in range(4):
        scalars = step(features, ids)
        rate = float(ours._learning_rate(number))  # of this step, not of the next
        assert float(scalars["learning_rate"]) == pytest.approx(rate, abs=1e-9)
        total, norm = by_the_book(recipe, reference, keras_own, features, ids)
        assert float(scalars["total"]) == pytest.approx(total, rel=1e-4)
        assert float(scalars["gradient_norm"]) == pytest.approx(norm, rel=1e-3)
        assert (int(scalars["words"]), int(scalars["captions"])) == (24, 6)  # none is padding
    assert (norm > clip_norm) == (clip_norm < 1)
    for a, b in zip(captioner.decoder.variables, reference.decoder.variables, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4, err_msg=a.path)
    for a, b in zip(ours.variables, keras_own.variables, strict=True):
        assert a.path == b.path
        np.testing.assert_allclose(a, b, atol=2e-4, err_msg=a.path)
    assert int(ours.iterations) == 4


def test_the_average_follows_the_weights_and_takes_their_place_for_a_while():
    recipe = config(learning_rate=1e-2, ema_decay=0.2, warmup_steps=0)
    captioner = small_captioner()
    optimizer = build_optimizer(recipe, 20)
    optimizer.build(captioner.trainable_variables)
    step = build_step(recipe, captioner, optimizer)
    expected = [v.numpy() for v in captioner.trainable_variables]
    for done in range(5):
        step(some_features(), padded(CAPTIONS))
        decay = min(0.2, done / (done + 10))  # 0, 1/11, 2/12, then 0.2
        weights = [v.numpy() for v in captioner.trainable_variables]
        pairs = zip(expected, weights, strict=True)
        expected = [decay * average + (1 - decay) * weight for average, weight in pairs]
    optimizer.show_averages(True)
    optimizer.show_averages(True)
    for variable, average in zip(captioner.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable, average, atol=1e-6, err_msg=variable.path)
    assert any(np.any(a != w) for a, w in zip(expected, weights, strict=True))
    optimizer.show_averages(False)
    for variable, weight in zip(captioner.trainable_variables, weights, strict=True):
        np.testing.assert_array_equal(variable, weight, err_msg=variable.path)


def test_without_an_average_the_optimizer_holds_none():
    captioner = small_captioner()
    optimizer = build_optimizer(config(), 20)
    optimizer.build(captioner.trainable_variables)
    assert not any("average" in variable.path for variable in optimizer.variables)
    before = [v.numpy() for v in captioner.trainable_variables]
    optimizer.show_averages(True)
    for variable, weight in zip(captioner.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, weight)
