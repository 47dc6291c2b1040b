"""Searches over real decoders: the fast step equals the definition, and ensembles average."""

import numpy as np
import pytest
import tensorflow as tf

from captioning.search_options import rules
from model.caption_generator import CaptionGenerator, draw
from model.fast import step as fast_step
from tests.support.captioner import padded, small_captioner, some_features

RULES = rules()._replace(max_length=12)
OPTIONS = {"beam_size": 4, "length_penalty": 0.7, "n_best": 3}


def lively(seed: int = 0, **sizes):
    """Return a captioner whose captions end at different words, and features of five images."""
    captioner = small_captioner(seed, **sizes)
    captioner.decoder.embedding.assign(captioner.decoder.embedding * 5)
    return captioner, some_features(5, seed=2, depth=sizes.get("feature_depth", 10)) * 3


def assert_matches_definition(result, members) -> None:
    """Check that words have the log-probabilities and alphas of `Decoder.step`, averaged.

    Args:
        result: of a search.
        members: captioners and their features.
    """
    n = result.ids.shape[1]
    ids = result.ids.numpy()
    memories = [captioner.decoder.memory(features) for captioner, features in members]
    decoders = [captioner.decoder for captioner, _ in members]
    states = [d.initial_state(m, n) for d, m in zip(decoders, memories, strict=True)]
    tokens = np.full((5, n), RULES.start)
    for t in range(ids.shape[-1]):
        steps = [
            d.step(tf.constant(tokens), s, m)
            for d, s, m in zip(decoders, states, memories, strict=True)
        ]
        states = [state for _, state, _ in steps]
        shares = np.mean([tf.nn.softmax(logits) for logits, _, _ in steps], 0)
        tokens = ids[:, :, t]
        for image, caption in np.argwhere(tokens != 0):
            place = (image, caption, t)
            expected = np.log(shares[image, caption, ids[place]])
            np.testing.assert_allclose(result.log_probabilities[place], expected, atol=1e-4)
            alphas = steps[0][2][image, caption]
            np.testing.assert_allclose(result.attention[place], alphas, atol=1e-5)
    assert not np.any(result.log_probabilities.numpy()[ids == 0])
    assert np.all(ids[..., 0] != 0)


# One captioner.


@pytest.mark.parametrize(("captions", "table"), [(1, True), (3, True), (3, False)])
@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"feature_projection": 0},
        {"gate": False},
        {"deep_output": False},
        {"gate": False, "deep_output": False},
        {"precision": "bfloat16"},
        {"attention": "static"},
        {"attention": "static", "image_as": "context", "gate": False, "deep_output": False},
        {"attention": "none"},
        {"attention": "none", "image_as": "first_input", "deep_output": False},
        {"attention": "none", "precision": "bfloat16"},
        {"image_as": "first_input"},
    ],
    ids=str,
)
def test_the_fast_step_is_the_decoders_step(sizes, captions, table):
    captioner, features = lively(**sizes)
    decoder = captioner.decoder
    memory = decoder.memory(features)
    laid_out = fast_step.lay_out(decoder, table)
    expected_state = state = decoder.initial_state(memory, captions)
    tokens = tf.constant(np.random.default_rng(3).integers(0, 23, (4, 5, captions)))
    tolerance = 0.05 if "precision" in sizes else 1e-5
    for words in tokens:
        logits, state, alpha = fast_step.step(laid_out, memory, words, state)
        expected, expected_state, alphas = decoder.step(words, expected_state, memory)
        np.testing.assert_allclose(logits, expected, atol=tolerance * 10)
        np.testing.assert_allclose(alpha, alphas, atol=tolerance)
        for part, expected_part in zip(state, expected_state, strict=True):
            np.testing.assert_allclose(part, expected_part, atol=tolerance)


def test_greedy_says_the_likeliest_words():
    captioner, features = lively()
    result = CaptionGenerator([captioner]).greedy([features], RULES)
    assert_matches_definition(result, [(captioner, features)])
    assert len({np.count_nonzero(ids) for ids in result.ids}) > 2
    # Teacher forcing on the result gives the same probabilities.
    ids = padded([[[RULES.start, *(i for i in ids if i)]] for ids in result.ids[:, 0].numpy()])
    nll = captioner.teacher_force(features, ids).nll  # [T, B, 1]
    np.testing.assert_allclose(result.score, -np.sum(nll, 0), rtol=1e-4)
    beam = CaptionGenerator([captioner]).beam([features], RULES, beam_size=1)
    np.testing.assert_array_equal(result.ids, beam.ids)


@pytest.mark.parametrize("attention", ["soft", "static", "none"])
def test_a_beam_carries_state_and_attention_of_the_decoder(attention):
    captioner, features = lively(attention=attention)
    result = CaptionGenerator([captioner]).beam([features], RULES, **OPTIONS)
    assert_matches_definition(result, [(captioner, features)])
    assert np.all(np.diff(result.score) <= 0)
    greedy = CaptionGenerator([captioner]).greedy([features], RULES)
    assert np.any(
        result.ids[:, 0, : greedy.ids.shape[-1]] != greedy.ids[:, 0, : result.ids.shape[-1]]
    )


def test_samples_are_drawn_from_the_decoder():
    captioner, features = lively()
    seeds = tf.stack([tf.fill([5], 3), tf.range(5)], 1)
    generator = CaptionGenerator([captioner])
    result = generator.sample([features], RULES, seeds, samples=4, temperature=2.0, top_p=0.9)
    assert_matches_definition(result, [(captioner, features)])
    assert len(np.unique(result.ids.numpy().reshape(20, -1), axis=0)) > 10


def test_training_draws_the_captions_that_sampling_gives():
    captioner, features = lively()
    seeds = tf.stack([tf.fill([5], 3), tf.range(5)], 1)
    expected = CaptionGenerator([captioner]).sample([features], RULES, seeds, samples=4)
    result = draw(captioner, features, RULES, seeds, 4)
    np.testing.assert_array_equal(result.ids, expected.ids)
    np.testing.assert_allclose(result.log_probabilities, expected.log_probabilities, atol=1e-4)


def test_batched_equals_one_at_a_time():
    captioner, features = lively()
    generator = CaptionGenerator([captioner])
    batched = generator.beam([features], RULES, **OPTIONS)
    for image in range(5):
        alone = generator.beam([features[image : image + 1]], RULES, **OPTIONS)
        length = min(alone.ids.shape[-1], batched.ids.shape[-1])
        np.testing.assert_array_equal(batched.ids[image, :, :length], alone.ids[0, :, :length])
        np.testing.assert_allclose(batched.score[image], alone.score[0], rtol=1e-4)


def test_new_weights_are_taken_over():
    captioner, features = lively()
    generator = CaptionGenerator([captioner])
    generator.greedy([features], RULES)
    other, _ = lively(seed=1)
    captioner.decoder.set_weights(other.decoder.get_weights())
    generator.refresh()
    result = generator.greedy([features], RULES)
    expected = CaptionGenerator([other]).greedy([features], RULES)
    np.testing.assert_array_equal(result.ids, expected.ids)
    np.testing.assert_allclose(result.score, expected.score, rtol=1e-5)


# Several.


def test_an_ensemble_averages_probabilities_at_each_word():
    members = [
        lively(0),
        lively(1, rnn_units=8),
        lively(2, feature_depth=6, feature_projection=0, attention="none"),
    ]
    members[2] = (members[2][0], tf.concat([members[2][1], members[2][1][:, :2]], 1))  # 8 locations
    features = [features for _, features in members]
    generator = CaptionGenerator([captioner for captioner, _ in members])
    result = generator.beam(features, RULES, **OPTIONS)
    assert_matches_definition(result, members)
    alone = CaptionGenerator([members[0][0]]).beam(features[:1], RULES, **OPTIONS)
    assert result.score.numpy().tolist() != alone.score.numpy().tolist()
    assert_matches_definition(generator.greedy(features, RULES), members)


def test_a_captioner_twice_is_that_captioner():
    captioner, features = lively()
    alone = CaptionGenerator([captioner]).beam([features], RULES, **OPTIONS)
    twice = CaptionGenerator([captioner] * 2).beam([features] * 2, RULES, **OPTIONS)
    np.testing.assert_array_equal(twice.ids, alone.ids)
    np.testing.assert_allclose(twice.score, alone.score, rtol=1e-5)
