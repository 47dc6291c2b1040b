"""Teacher forcing equals the decoder step by step, with padding, dropout and bfloat16."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from model.definition import forcing
from tests.support.captioner import (
    CAPTIONS,
    EVERYTHING,
    LOCATIONS,
    NOTHING,
    assert_same,
    forced_loss,
    gradients_of,
    padded,
    small_captioner,
    some_features,
)

OBJECTIVES = {
    "cross-entropy": {},
    "doubly stochastic": {"doubly_stochastic_weight": 0.7},
    "attention entropy": {"attention_entropy_weight": 0.3},
    "label smoothing": {"label_smoothing": 0.2},
    "all": EVERYTHING,
}


def forced(captioner, *args, **options):
    """Run the definition of teacher forcing."""
    return forcing.teacher_force(captioner.decoder, *args, **options)


def step_by_step_loss(captioner, features, captions, weights):
    """Compute the masked loss of each caption alone, word by word by `Decoder.step`."""
    decoder = captioner.decoder
    variables = [v.value for v in decoder.trainable_variables]
    length = max(len(ids) for image in captions for ids in image)
    smoothing = weights["label_smoothing"]
    with tf.GradientTape() as tape:
        tape.watch(features)
        total, words, penalties, entropies = 0.0, 0, [], 0.0
        for image, texts in zip(tf.unstack(features), captions, strict=True):
            memory = decoder.memory(image[None])
            for ids in texts:
                ids = [*ids, *[0] * (length - len(ids))]
                state, looked = decoder.initial_state(memory, 1), tf.zeros([LOCATIONS])
                for word, target in itertools.pairwise(ids):
                    logits, state, alpha = decoder.step(tf.constant([[word]]), state, memory)
                    log_p = tf.nn.log_softmax(logits[0, 0])
                    smooth = tf.one_hot(target, len(log_p)) * (1 - smoothing) + smoothing / len(
                        log_p
                    )
                    mask = float(target != 0)
                    total -= mask * tf.reduce_sum(smooth * log_p)
                    looked += mask * alpha[0, 0]
                    entropies -= mask * tf.reduce_sum(alpha * tf.math.log(alpha))
                    words += target != 0
                penalties.append(tf.reduce_sum((1 - looked) ** 2))
        loss = total / words
        loss += weights["doubly_stochastic_weight"] * tf.add_n(penalties) / len(penalties)
        loss += weights["attention_entropy_weight"] * entropies / words
    return loss, gradients_of(tape, loss, captioner, variables, features)


@pytest.mark.parametrize(
    ("name", "projection"), [*((name, 7) for name in OBJECTIVES), ("cross-entropy", 0), ("all", 0)]
)
def test_teacher_forcing_equals_the_decoder_step_by_step(name, projection):
    captioner = small_captioner(feature_projection=projection)
    weights = NOTHING | OBJECTIVES[name]
    features = some_features()
    expected, expected_gradients = step_by_step_loss(captioner, features, CAPTIONS, weights)
    result, gradients = forced_loss(captioner, features, padded(CAPTIONS), weights)
    assert float(result.total) == pytest.approx(float(expected), abs=1e-4)
    assert_same(gradients, expected_gradients)
    assert min(np.abs(g).max() for g in gradients.values()) > 1e-5  # all of them were compared


def test_teacher_forcing_scores_the_words_that_the_steps_make_likely():
    captioner = small_captioner()
    decoder, features, ids = captioner.decoder, some_features(), padded(CAPTIONS)
    result = forced(captioner, features, ids)
    memory = decoder.memory(features)
    state, nll, attention = decoder.initial_state(memory, 3), [], []
    for t in range(ids.shape[-1] - 1):
        logits, state, alpha = decoder.step(ids[:, :, t], state, memory)
        nll.append(-tf.gather(tf.nn.log_softmax(logits), ids[:, :, t + 1], batch_dims=2))
        attention.append(alpha)
    real = tf.transpose(ids, [2, 0, 1])[1:] != 0  # <end> is among them, <start> is not
    np.testing.assert_array_equal(result.real, real)
    np.testing.assert_allclose(result.nll, tf.where(real, tf.stack(nll), 0), atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(result.attention, tf.stack(attention), atol=1e-5)
    np.testing.assert_array_equal(result.losses, result.nll)  # nothing is smoothed


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_label_smoothing_puts_its_share_on_all_words(share):
    captioner = small_captioner()
    features, ids = some_features(), padded(CAPTIONS)
    plain, smoothed = (forced(captioner, features, ids, label_smoothing=s) for s in (0, share))
    np.testing.assert_array_equal(smoothed.nll, plain.nll)
    even = forced(captioner, features, ids, label_smoothing=1).losses  # all words alike
    np.testing.assert_allclose(
        smoothed.losses, (1 - share) * plain.nll + share * even, rtol=1e-5, atol=1e-6
    )
    decoder, memory = captioner.decoder, captioner.decoder.memory(features)
    logits, _, _ = decoder.step(ids[:, :, 0], decoder.initial_state(memory, 3), memory)
    expected = -tf.reduce_mean(tf.nn.log_softmax(logits), -1)
    np.testing.assert_allclose(even[0], tf.where(plain.real[0], expected, 0), rtol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_padding_never_reaches_the_loss(dropout):
    captioner = small_captioner()
    weights = NOTHING | OBJECTIVES["all"]
    features, ids = some_features(), padded(CAPTIONS)
    options = {"dropout": dropout, "seed": tf.constant([3, 4])}
    expected, expected_gradients = forced_loss(captioner, features, ids, weights, **options)

    if not dropout:  # masks are drawn for the whole tensor: another shape is another mask
        wider = padded(CAPTIONS, texts=5, words=11)
        result, gradients = forced_loss(captioner, features, wider, weights)
        np.testing.assert_allclose(result, expected, atol=1e-5)
        assert_same(gradients, expected_gradients, 1e-5)

    # Whatever word stands where padding is fed in: the padding's own vector is never learnt from.
    changed = captioner.decoder.embedding.numpy()
    changed[0] += 100.0
    captioner.decoder.embedding.assign(changed)
    result, gradients = forced_loss(captioner, features, ids, weights, **options)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    assert_same(gradients, expected_gradients, 1e-5)
    embedding = gradients[captioner.decoder.embedding.path]
    assert not embedding[0].any()
    assert embedding[1].any()


def test_captions_of_an_image_do_not_leak_into_each_other():
    captioner = small_captioner()
    features = some_features()
    nll = forced(captioner, features, padded(CAPTIONS)).nll
    other = [[CAPTIONS[0][0], [1, 22, 21, 3, 2], [1, 4, 2]], [[1, 3, 2]], [[1, 22, 2]] * 2]
    changed = forced(captioner, features, padded(other, words=7)).nll
    np.testing.assert_allclose(changed[:, 0, 0], nll[:, 0, 0], atol=1e-6, rtol=1e-6)
    assert np.abs(changed - nll)[:, 0, 1:].max() > 1e-3


def test_images_do_not_leak_into_each_other():
    captioner = small_captioner()
    features = some_features()
    nll = forced(captioner, features, padded(CAPTIONS)).nll
    others = tf.concat([features[:1], some_features(2, seed=9)], 0)
    changed = forced(captioner, others, padded(CAPTIONS)).nll
    np.testing.assert_allclose(changed[:, 0], nll[:, 0], atol=1e-6, rtol=1e-6)
    assert np.abs(changed - nll)[:, 1:].max() > 1e-3


def test_words_of_later_steps_change_nothing_earlier():
    captioner = small_captioner()
    features = some_features(1)
    one = forced(captioner, features, padded([[[1, 5, 6, 7, 8, 2]]])).nll
    two = forced(captioner, features, padded([[[1, 5, 6, 9, 10, 2]]])).nll
    np.testing.assert_allclose(one[:2], two[:2], atol=1e-6)
    assert np.abs(one[2:] - two[2:]).min() > 1e-4


# Dropout and precision.


def test_dropout_is_a_function_of_the_seed():
    captioner = small_captioner()
    features, ids = some_features(), padded(CAPTIONS)

    def nll(dropout, seed):
        return forced(captioner, features, ids, dropout, tf.constant(seed)).nll.numpy()

    np.testing.assert_array_equal(nll(0.5, [7, 1]), nll(0.5, [7, 1]))
    for other in ([7, 2], [8, 1]):
        assert np.abs(nll(0.5, [7, 1]) - nll(0.5, other)).max() > 0.1
    np.testing.assert_array_equal(nll(0.0, [7, 1]), nll(0.0, [8, 2]))


def test_dropout_falls_on_four_places_with_masks_of_their_own(monkeypatch):
    captioner, seen = small_captioner(), []

    def noted(shape, *args):
        seen.append((tuple(np.array(shape)), keep_mask(shape, *args).numpy().ravel()[:162]))
        return tf.ones(shape)

    keep_mask = forcing.keep_mask
    monkeypatch.setattr(forcing, "keep_mask", noted)
    for step in (4, 5):
        forced(captioner, some_features(), padded(CAPTIONS), 0.5, tf.constant([3, step]))
    # Features, words, and both sides of the deep output.
    shapes = [shape for shape, _ in seen[:4]]
    assert shapes == [(3, LOCATIONS, 10), (6, 3, 3, 9), (6, 3, 3, 12), (6, 3, 3, 9)]
    same = np.corrcoef([mask for _, mask in seen])
    assert np.abs(same[~np.eye(8, dtype=bool)]).max() < 0.4


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_keeps_its_share_and_the_mean(rate):
    mask = forcing.keep_mask([300, 400], rate, tf.constant([3, 4]), 1).numpy()
    assert len(np.unique(mask)) == 2
    assert mask.max() == pytest.approx(1 / (1 - rate), rel=0.004)  # the rate is in 256ths
    assert np.mean(mask > 0) == pytest.approx(1 - rate, abs=0.01)
    assert mask.mean() == pytest.approx(1, abs=0.01)
    assert np.abs(mask.mean(0) - 1).max() < 0.3  # everywhere: an element takes its own byte
    assert np.abs(mask.mean(1) - 1).max() < 0.3


def test_bfloat16_is_close_to_float32():
    features, ids = some_features(), padded(CAPTIONS)
    weights = NOTHING | OBJECTIVES["all"]
    full, gradients = forced_loss(small_captioner(), features, ids, weights)
    half, half_gradients = forced_loss(
        small_captioner(precision="bfloat16"), features, ids, weights
    )
    assert float(half.total) == pytest.approx(float(full.total), rel=0.01)
    assert float(half.total) != float(full.total)
    for name, expected in gradients.items():
        error = np.linalg.norm(half_gradients[name] - expected) / np.linalg.norm(expected)
        assert error < 0.05, name
        assert half_gradients[name].dtype == np.float32


def test_features_of_another_float_type_are_taken():
    captioner, ids = small_captioner(), padded(CAPTIONS)
    features = tf.cast(some_features(), tf.float16)
    for projection in (7, 0):
        captioner = small_captioner(feature_projection=projection)
        expected = forced(captioner, tf.cast(features, tf.float32), ids).nll
        np.testing.assert_array_equal(forced(captioner, features, ids).nll, expected)


def test_the_likeliest_words_are_those_of_the_decoders_step():
    captioner = small_captioner()
    features, ids = some_features(), padded(CAPTIONS)
    words = forcing.likeliest_words(captioner.decoder, features, ids).numpy()
    decoder = captioner.decoder
    memory = decoder.memory(features)
    state = decoder.initial_state(memory, ids.shape[1])
    for t in range(ids.shape[2] - 1):
        logits, state, _ = decoder.step(ids[:, :, t], state, memory)
        real = ids[:, :, t + 1].numpy() != 0
        np.testing.assert_array_equal(words[:, :, t][real], logits.numpy().argmax(-1)[real])
