"""One step of the decoder computes its equations, and attention depends on the state."""

import numpy as np
import tensorflow as tf

from model.definition import attention as attention_lib
from model.definition import forcing
from model.definition.decoder import Decoder, DecoderConfig, State
from tests.support.captioner import (
    CAPTIONS,
    LOCATIONS,
    padded,
    small_captioner,
    some_features,
)

# The kernels that L2 applies to: no bias, no embedding, nothing of the LSTM.
DENSE = {
    *("projection_kernel", "initial_h_kernel", "initial_c_kernel", "gate_kernel"),
    *("memory_kernel", "query_kernel", "score_kernel"),
    *("output_h_kernel", "output_context_kernel", "output_word_kernel", "output_logits_kernel"),
}


def forced(captioner, *args, **options):
    """Run the definition of teacher forcing."""
    return forcing.teacher_force(captioner.decoder, *args, **options)


def test_step_computes_the_equations():
    captioner = small_captioner()
    decoder, features = captioner.decoder, some_features(1)
    w = {v.name: v.numpy().astype(np.float64) for v in decoder.variables}
    rng = np.random.default_rng(5)
    h, c = (rng.normal(size=12) for _ in range(2))

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    values = np.maximum(features[0] @ w["projection_kernel"] + w["projection_bias"], 0)
    e = np.tanh(values @ w["memory_kernel"] + w["memory_bias"] + h @ w["query_kernel"])
    e = (e @ w["score_kernel"])[:, 0]
    alpha = np.exp(e) / np.exp(e).sum()
    z = sigmoid(h @ w["gate_kernel"] + w["gate_bias"]) * (alpha @ values)
    word = w["embedding"][17]
    gates = (
        word @ w["lstm_word_kernel"]
        + z @ w["lstm_context_kernel"]
        + h @ w["lstm_recurrent_kernel"]
        + w["lstm_bias"]
    )
    i, f, g, o = np.split(gates, 4)
    new_c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    new_h = sigmoid(o) * np.tanh(new_c)
    deep = np.tanh(
        new_h @ w["output_h_kernel"]
        + w["output_h_bias"]
        + z @ w["output_context_kernel"]
        + word @ w["output_word_kernel"]
    )
    logits = deep @ w["output_logits_kernel"] + w["output_logits_bias"]

    memory = decoder.memory(features)
    state = State(*(tf.constant(x[None, None], tf.float32) for x in (h, c)))
    step_logits, state, weights = decoder.step(tf.constant([[17]]), state, memory)
    np.testing.assert_allclose(weights[0, 0], alpha, atol=1e-5)
    np.testing.assert_allclose(state.h[0, 0], new_h, atol=1e-5)
    np.testing.assert_allclose(state.c[0, 0], new_c, atol=1e-5)
    np.testing.assert_allclose(step_logits[0, 0], logits, atol=1e-4)

    first = decoder.initial_state(memory, 2)
    mean = values.mean(0)
    for part, name in ((first.h, "initial_h"), (first.c, "initial_c")):
        expected = np.tanh(mean @ w[f"{name}_kernel"] + w[f"{name}_bias"])
        np.testing.assert_allclose(part[0], [expected, expected], atol=1e-5)


def test_l2_applies_to_the_dense_kernels_alone():
    assert {v.name for v in small_captioner().decoder.dense_kernels} == DENSE
    without = small_captioner(feature_projection=0).decoder.dense_kernels
    assert {v.name for v in without} == DENSE - {"projection_kernel"}


def test_forget_gate_starts_open():
    decoder = Decoder(DecoderConfig(vocabulary_size=9, feature_depth=3, rnn_units=4))
    bias = decoder.lstm_bias.numpy().reshape(4, 4)
    np.testing.assert_array_equal(bias, [[0] * 4, [1] * 4, [0] * 4, [0] * 4])


# Attention.


def _dependence(captioner):
    """Return the largest |d alpha / d h| and the smallest change of alpha from word to word."""
    decoder, features = captioner.decoder, some_features(1)
    memory = decoder.memory(features)
    h = tf.constant(np.random.default_rng(2).normal(size=(1, 1, 12)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(h)
        _, alpha = decoder.attention(h, memory.keys, memory.values)
    jacobian = tape.jacobian(alpha, h)
    attention = forced(captioner, features, padded(CAPTIONS[:1])).attention[:, 0, 2]
    return np.abs(jacobian).max(), np.abs(np.diff(attention, axis=0)).max(1).min()


def test_attention_depends_on_the_state(monkeypatch):
    captioner = small_captioner()
    by_state, by_word = _dependence(captioner)
    assert by_state > 1e-3
    assert by_word > 1e-4  # the least of all words

    # A scalar of h added to every location cancels in the softmax: the same check catches it.
    def scalar_of_h(query, keys, score):
        energy = tf.tensordot(tf.tanh(keys), score, 1)[:, None]  # [B, 1, L]
        return tf.nn.softmax(energy + tf.tensordot(query, score, 1)[..., None])

    monkeypatch.setattr(attention_lib, "attend", scalar_of_h)
    by_state, by_word = _dependence(captioner)
    assert by_state < 1e-6
    assert by_word < 1e-6


def test_attention_is_a_distribution():
    attention = forced(small_captioner(), some_features(), padded(CAPTIONS)).attention
    assert attention.shape == (6, 3, 3, LOCATIONS)
    np.testing.assert_allclose(tf.reduce_sum(attention, -1), np.ones((6, 3, 3)), atol=1e-5)
    assert np.min(attention) > 0
