"""One step of the decoder computes its equations, and attention depends on the state."""

import numpy as np
import tensorflow as tf

from model.definition import attention as attention_lib
from model.definition import forcing
from model.definition.decoder import Decoder, DecoderConfig
from model.definition.lstm import State
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
    def kernels(**config):
        return {v.name for v in small_captioner(**config).decoder.dense_kernels}

    assert kernels() == DENSE
    assert kernels(feature_projection=0) == DENSE - {"projection_kernel"}
    assert kernels(attention="static") == DENSE - {"query_kernel"}
    of_attention = {"memory_kernel", "query_kernel", "score_kernel"}
    assert kernels(attention="none") == DENSE - of_attention - {
        *("gate_kernel", "output_context_kernel"),
    }
    of_state = {"initial_h_kernel", "initial_c_kernel"}
    assert kernels(image_as="first_input") == DENSE - of_state | {"image_kernel"}
    assert kernels(image_as="context") == DENSE - of_state


def test_forget_gate_starts_open():
    decoder = Decoder(DecoderConfig(vocabulary_size=9, feature_depth=3, rnn_units=4))
    bias = decoder.lstm_bias.numpy().reshape(4, 4)
    np.testing.assert_array_equal(bias, [[0] * 4, [1] * 4, [0] * 4, [0] * 4])


# Ways in of the image.


def test_the_image_is_the_first_input():
    """The LSTM reads the image's vector before <start>, from a state of 0."""
    decoder = small_captioner(attention="none", image_as="first_input").decoder
    w = {v.name: v.numpy().astype(np.float64) for v in decoder.variables}
    memory = decoder.memory(some_features(1))
    image = memory.values.numpy()[0].mean(0) @ w["image_kernel"]
    i, _, g, o = np.split(image @ w["lstm_word_kernel"] + w["lstm_bias"], 4)
    c = np.tanh(g) / (1 + np.exp(-i))
    h = np.tanh(c) / (1 + np.exp(-o))
    first = decoder.initial_state(memory, 2)
    np.testing.assert_allclose(first.c[0], [c, c], atol=1e-5)
    np.testing.assert_allclose(first.h[0], [h, h], atol=1e-5)


def test_the_state_begins_at_0_where_the_image_enters_by_the_context():
    decoder = small_captioner(image_as="context").decoder
    first = decoder.initial_state(decoder.memory(some_features()), 2)
    assert first.h.shape == first.c.shape == (3, 2, 12)
    assert not np.any(first.h)
    assert not np.any(first.c)


def test_without_attention_the_words_alone_enter_a_step():
    """The image decides the state before the first word, and nothing afterwards."""
    decoder = small_captioner(attention="none").decoder
    one, other = (decoder.memory(some_features(1, seed)) for seed in (0, 1))
    state = decoder.initial_state(one, 1)
    token = tf.constant([[17]])
    (logits, _, alpha), (same, _, _) = (decoder.step(token, state, m) for m in (one, other))
    np.testing.assert_array_equal(logits, same)
    np.testing.assert_allclose(alpha, np.full((1, 1, LOCATIONS), 1 / LOCATIONS), rtol=1e-6)
    from_other, _, _ = decoder.step(token, decoder.initial_state(other, 1), one)
    assert np.abs(from_other - logits).max() > 1e-3


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

    # The static attention computes the same alpha without that scalar.
    static = small_captioner(attention="static")
    weights = {v.path: v for v in captioner.decoder.variables}
    for variable in static.decoder.variables:
        variable.assign(weights[variable.path])
    features, ids = some_features(), padded(CAPTIONS)
    scalar, without = (forced(c, features, ids) for c in (captioner, static))
    real = without.real.numpy()
    np.testing.assert_allclose(without.attention[real], scalar.attention[real], atol=1e-6)
    np.testing.assert_allclose(without.losses, scalar.losses, atol=1e-5)
    moved = attention_lib.temporal_variance(
        tf.transpose(without.attention, [1, 2, 0, 3]), tf.transpose(without.real, [1, 2, 0])
    )
    assert np.max(moved) < 1e-12
    spread = attention_lib.entropy(without.attention[0])
    assert np.max(spread) < np.log(LOCATIONS) - 1e-3  # it does prefer some locations


def test_attention_is_a_distribution():
    attention = forced(small_captioner(), some_features(), padded(CAPTIONS)).attention
    assert attention.shape == (6, 3, 3, LOCATIONS)
    np.testing.assert_allclose(tf.reduce_sum(attention, -1), np.ones((6, 3, 3)), atol=1e-5)
    assert np.min(attention) > 0
