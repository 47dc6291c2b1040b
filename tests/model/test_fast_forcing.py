"""The fast recurrence and the fast loss equal the definition, to the last gradient."""

import numpy as np
import pytest
import tensorflow as tf

from model.definition import forcing
from model.definition.image_input import IMAGE_INPUTS
from model.fast import forcing as fast_forcing
from model.fast import fused
from tests.support.captioner import (
    CAPTIONS,
    EVERYTHING,
    NOTHING,
    assert_same,
    forced_loss,
    padded,
    small_captioner,
    some_features,
)
from trainer import losses

DROPOUT = {"dropout": 0.5, "seed": tf.constant([3, 4])}
VARIANTS = {
    "all": {},
    "no gate": {"gate": False},
    "no projection": {"feature_projection": 0},
    "no deep output": {"deep_output": False},
    "the tutorial's": {"feature_projection": 0, "deep_output": False},
    "bare": {"feature_projection": 0, "deep_output": False, "gate": False},
    "static": {"attention": "static"},
    "static, bare": {"attention": "static", "gate": False, "deep_output": False},
    "first input": {"image_as": "first_input"},
    "context only": {"image_as": "context"},
    "static, context only": {"attention": "static", "image_as": "context"},
    "Show and Tell": {"attention": "none", "image_as": "first_input", "deep_output": False},
    "no attention": {"attention": "none"},
    "no attention or projection": {"attention": "none", "feature_projection": 0},
}


# Compiling takes seconds; uncompiled, every variant is compared.
COMPILED = ["all", pytest.param("static", marks=pytest.mark.slow), "Show and Tell"]


@pytest.fixture(scope="module", autouse=True)
def uncompiled():
    """Each new shape would be compiled; `test_compiled_...` do that."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def assert_equals_plain(captioner, features, ids, weights, tolerance=1e-4, **options):
    """Compare the loss and every gradient; return the gradients of the plain formulation."""
    expected, expected_gradients = forced_loss(captioner, features, ids, weights, **options)
    result, gradients = forced_loss(
        captioner, features, ids, weights, formulation=fast_forcing, **options
    )
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)
    assert_same(gradients, expected_gradients, tolerance)
    return expected_gradients


def some_captions(rng, images, captions, longest):
    """Ids [B, N, T + 1]: lengths in any order, some captions missing, but of no image all."""
    ids = np.zeros((images, captions, longest + 2), np.int32)
    for image in ids:
        for caption in image[: rng.integers(1, captions + 1)]:
            words = rng.integers(3, 23, rng.integers(0, longest + 1))
            caption[: len(words) + 2] = [1, *words, 2]
    return tf.constant(ids)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_plain_formulation(variant, dropout):
    captioner = small_captioner(**VARIANTS[variant])
    gradients = assert_equals_plain(
        captioner,
        some_features(),
        padded(CAPTIONS),
        EVERYTHING,
        dropout=dropout,
        seed=tf.constant([3, 4]),
    )
    assert min(np.abs(g).max() for g in gradients.values()) > 1e-5  # all of them were compared


@pytest.mark.parametrize("variant", ["all", "static", "Show and Tell"])
def test_other_words_are_fed_in_and_the_likeliest_told_as_in_the_plain_formulation(variant):
    captioner = small_captioner(**VARIANTS[variant])
    features, ids = some_features(), padded(CAPTIONS)
    own = forced_loss(captioner, features, ids, EVERYTHING, formulation=fast_forcing)[0]
    same = forced_loss(
        captioner, features, ids, EVERYTHING, formulation=fast_forcing, fed=ids[:, :, :-1]
    )[0]
    np.testing.assert_array_equal(own, same)
    real = ids.numpy()[:, :, 1:] != 0
    words = [
        formulation.likeliest_words(captioner.decoder, features, ids).numpy()
        for formulation in (forcing, fast_forcing)
    ]
    assert words[0].shape == real.shape
    np.testing.assert_array_equal(words[0][real], words[1][real])
    assert len({*words[0][real]}) > 3 or variant == "Show and Tell"  # which its biases rule
    fed = tf.constant(np.where(real, words[0], 0))
    gradients = assert_equals_plain(captioner, features, ids, EVERYTHING, fed=fed, **DROPOUT)
    others = forced_loss(captioner, features, ids, EVERYTHING, **DROPOUT)[1]
    assert np.abs(gradients["decoder/embedding"] - others["decoder/embedding"]).max() > 1e-3


@pytest.mark.parametrize("draw", range(16))
def test_equals_the_plain_formulation_whatever_the_shapes(draw):
    rng = np.random.default_rng(draw)
    names = ("rnn_units", "embedding_dim", "attention_units", "feature_projection")
    sizes = {name: int(rng.integers(1, 14)) for name in names}
    sizes |= {name: bool(rng.integers(2)) for name in ("gate", "deep_output")}
    sizes["feature_projection"] *= int(rng.integers(2))
    sizes["attention"] = rng.choice(["soft", "soft", "static", "none"])
    ways = [way for way in IMAGE_INPUTS if (sizes["attention"], way) != ("none", "context")]
    sizes["image_as"] = rng.choice(ways)
    images, captions, longest = (int(rng.integers(1, high)) for high in (6, 6, 12))
    weights = {name: value * rng.uniform() for name, value in EVERYTHING.items()}
    assert_equals_plain(
        small_captioner(draw, **sizes),
        some_features(images, draw, locations=int(rng.integers(1, 9))),
        some_captions(rng, images, captions, longest),
        weights,
        dropout=0.3 * int(rng.integers(2)),
        seed=tf.constant([draw, 5]),
    )


@pytest.mark.parametrize("attention", ["soft", "static"])
def test_every_weight_of_the_losses_has_its_gradient(attention):
    """Any weight of any word and any alpha, not just those of the recipe's objective."""
    captioner = small_captioner(attention=attention)
    decoder, features, ids = captioner.decoder, some_features(), padded(CAPTIONS)
    rng = np.random.default_rng(0)
    of_losses = rng.normal(size=(6, 3, 3)).astype(np.float32)
    of_attention = rng.normal(size=(6, 3, 3, 6)).astype(np.float32)

    def gradients(formulation):
        variables = [v.value for v in decoder.trainable_variables]
        with tf.GradientTape() as tape:
            forced = formulation.teacher_force(decoder, features, ids)
            weighted = tf.where(forced.real[..., None], of_attention * forced.attention, 0.0)
            loss = tf.reduce_sum(of_losses * forced.losses) + tf.reduce_sum(weighted)
        return dict(enumerate(map(tf.convert_to_tensor, tape.gradient(loss, variables))))

    assert_same(gradients(fast_forcing), gradients(forcing))


def test_forced_is_the_same_for_each_word():
    captioner = small_captioner()
    features, ids = some_features(), padded(CAPTIONS, texts=4, words=9)
    expected, fast = (
        formulation.teacher_force(captioner.decoder, features, ids, 0.5, tf.constant([1, 2]), 0.1)
        for formulation in (forcing, fast_forcing)
    )
    np.testing.assert_array_equal(fast.real, expected.real)
    for values, plain in ((fast.losses, expected.losses), (fast.nll, expected.nll)):
        np.testing.assert_allclose(values, plain, atol=1e-5, rtol=1e-5)
    real = expected.real.numpy()
    np.testing.assert_allclose(fast.attention[real], expected.attention[real], atol=1e-5)


def test_finished_captions_leave_the_batch():
    lengths = np.array([[5, 3, 1], [4, 4, 0]])  # [B, N], the longest first
    real = np.arange(6)[:, None, None] < lengths
    rows, counts = fast_forcing._computed_rows(tf.constant(real))
    np.testing.assert_array_equal(counts, [3, 2, 2, 2, 2])  # no caption has a sixth word
    assert rows.shape == (11, 2)
    covered = np.zeros(real.size, bool)
    covered[rows.numpy().ravel()] = True
    assert covered.sum() == 22
    assert covered[real.ravel()].all()
    # In any other order, all real words are computed too.
    shuffled = real[:, :, [2, 0, 1]]
    rows, counts = fast_forcing._computed_rows(tf.constant(shuffled))
    np.testing.assert_array_equal(counts, [3, 3, 3, 3, 2])
    assert set(np.flatnonzero(shuffled)) <= set(rows.numpy().ravel())


def test_attention_is_exact_where_tanh_saturates():
    captioner = small_captioner()
    for kernel in (captioner.decoder.attention.memory_kernel,):
        kernel.assign(kernel * 30)  # keys up to 60
    keys = captioner.decoder.memory(some_features()).keys
    assert np.abs(keys).max() > 44
    assert_equals_plain(captioner, some_features(), padded(CAPTIONS), NOTHING)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("size", "rest"), [(25, 3), (40, 40), (41, 0)])
def test_attention_is_exact_where_great_keys_and_queries_cancel(sign, size, rest):
    """Their exponentials are computed apart, so each of them has to be exact."""
    rng = np.random.default_rng(0)
    keys = sign * size + rng.normal(size=(2, 5, 8))  # [B, L, A]
    query = -sign * size + rng.normal(size=(2, 8))
    keys[:, :, :2] = sign * rest  # without a counterpart
    query[:, 2:4] = sign * rest
    score = rng.normal(size=8)
    energy = np.tanh(keys + query[:, None]) @ score
    expected = np.exp(energy) / np.exp(energy).sum(1, keepdims=True)
    units, sizes = 4, (4, 8)
    product = np.concatenate([np.zeros((2, 4 * units)), query], 1)
    keys, product, score = (tf.constant(x, tf.float32) for x in (keys, product, score))
    rows, low = fused.attend(product, fused.exp_keys(keys), score, sizes)
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    np.testing.assert_array_equal(low[:, 0], rows)
    d_alpha = tf.constant(rng.normal(size=(2, 5)), tf.float32)
    with tf.GradientTape() as tape:
        parts = tf.Variable(keys), tf.Variable(product[:, 4 * units :]), tf.Variable(score)
        sums = tf.tanh(parts[0] + parts[1][:, None])
        alpha = tf.nn.softmax(tf.linalg.matvec(sums, parts[2]))
        loss = tf.reduce_sum(alpha * d_alpha)
    d_keys, d_query, d_score = tape.gradient(loss, parts)
    joint, d_energy, fused_d_score = fused.attend_backward(
        tf.zeros([2, 1, 5]),
        d_alpha,
        rows,
        product,
        fused.exp_keys(keys),
        score,
        tf.zeros([2, 4 * units]),
        tf.zeros([2, 0]),
        sizes,
    )
    np.testing.assert_allclose(joint[:, 4 * units :], d_query, atol=1e-5)
    np.testing.assert_allclose(fused_d_score, d_score, atol=1e-5)
    fused_d_keys = fused.keys_backward(product, d_energy, fused.exp_keys(keys), score, sizes)
    np.testing.assert_allclose(fused_d_keys, d_keys, atol=1e-5)


def test_attention_is_a_distribution_however_great_keys_and_queries_are():
    sizes = (4, 2)
    for of_keys, of_query in ((500, -500), (-500, 500), (500, 500), (-500, -500)):
        keys = tf.fill([1, 3, 2], float(of_keys)) + tf.range(3.0)[:, None]
        product = tf.constant([[0.0] * 16 + [float(of_query)] * 2])
        exp_keys, score = fused.exp_keys(keys), tf.constant([1.0, -2.0])
        rows, _ = fused.attend(product, exp_keys, score, sizes)
        np.testing.assert_allclose(tf.reduce_sum(rows, 1), 1, rtol=1e-5)
        d_energy = tf.constant([[1.0, -2.0, 1.0]])
        assert np.isfinite(fused.keys_backward(product, d_energy, exp_keys, score, sizes)).all()


def test_great_logits_do_not_overflow():
    captioner = small_captioner()
    kernel, bias = captioner.decoder.output_logits
    kernel.assign(kernel * 300)
    bias.assign(bias + 1000)
    gradients = assert_equals_plain(captioner, some_features(), padded(CAPTIONS), EVERYTHING)
    assert all(np.isfinite(g).all() for g in gradients.values())


def test_bfloat16_is_as_close_to_float32_as_the_plain_formulation():
    features, ids = some_features(), padded(CAPTIONS)
    exact, gradients = forced_loss(small_captioner(), features, ids, EVERYTHING)
    half = small_captioner(precision="bfloat16")
    result, half_gradients = forced_loss(half, features, ids, EVERYTHING, formulation=fast_forcing)
    assert float(result.total) == pytest.approx(float(exact.total), rel=0.01)
    assert float(result.total) != float(exact.total)
    for name, expected in gradients.items():
        error = np.linalg.norm(half_gradients[name] - expected) / np.linalg.norm(expected)
        assert error < 0.05, name
        assert half_gradients[name].dtype == np.float32


def compiled(captioner, formulation, dropout=DROPOUT, **options):
    """Compile what `forced_loss` computes into a graph."""
    decoder = captioner.decoder
    variables = [v.value for v in decoder.trainable_variables]
    weights = {name: w for name, w in EVERYTHING.items() if name != "label_smoothing"}
    share = EVERYTHING["label_smoothing"]

    def step(features, ids):
        with tf.GradientTape() as tape:
            forced = formulation.teacher_force(decoder, features, ids, *dropout.values(), share)
            result = losses.objective(forced, decoder.dense_kernels, l2_weight=0.0, **weights)
        gradients = tape.gradient(result.total, variables)
        return result, [tf.convert_to_tensor(gradient) for gradient in gradients]

    return tf.function(step, autograph=False, **options)


def assert_compiled(step, captioner, captions, formulation, tolerance, dropout=DROPOUT):
    features, ids = some_features(len(captions)), padded(captions)
    result, gradients = step(features, ids)
    expected, by_name = forced_loss(
        captioner, features, ids, EVERYTHING, formulation=formulation, **dropout
    )
    np.testing.assert_allclose(result, expected, rtol=tolerance)
    by_name.pop("features")
    assert_same(dict(zip(by_name, gradients, strict=True)), by_name, tolerance)


@pytest.mark.parametrize("variant", COMPILED)
def test_compiled_in_float32(variant):
    tf.config.run_functions_eagerly(False)
    captioner = small_captioner(**VARIANTS[variant])
    shapes = tf.TensorSpec([None, None, 10]), tf.TensorSpec([None, None, None], tf.int32)
    step = compiled(captioner, fast_forcing, input_signature=shapes)  # one graph for all shapes
    for captions in (CAPTIONS, CAPTIONS[1:2]):  # of N captions, and of one
        assert_compiled(step, captioner, captions, forcing, 1e-4)


def test_compiled_in_bfloat16():
    tf.config.run_functions_eagerly(False)
    captioner = small_captioner(precision="bfloat16")
    assert_compiled(compiled(captioner, fast_forcing), captioner, CAPTIONS[1:], forcing, 2e-2)


@pytest.mark.parametrize("variant", COMPILED)
def test_xla_compiles_the_plain_formulation_whole(variant):
    """A GPU runs it this way. There is no dropout here, because XLA draws other masks."""
    tf.config.run_functions_eagerly(False)
    captioner = small_captioner(**VARIANTS[variant])
    none = DROPOUT | {"dropout": 0.0}
    step = compiled(captioner, forcing, none, jit_compile=True)
    assert_compiled(step, captioner, CAPTIONS, forcing, 1e-4, none)
