"""A batch in pieces (--accumulate_steps): the losses and gradients of the whole batch."""

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from model.captioner import Captioner
from model.definition.decoder import DecoderConfig
from model.encoder import Encoder
from tests.support.captioner import CAPTIONS, SIZES, padded, small_captioner, some_features
from tests.support.normed import use_normed_encoder
from tests.support.training import config
from trainer.losses import BatchTotals
from trainer.optimizer import build_optimizer
from trainer.step import Replica, build_step, count_words

# Everything in the objective weighs.
RECIPE = {
    "dropout": 0,
    "l2": 0.01,
    "doubly_stochastic": 0.5,
    "attention_entropy": 0.2,
    "attention_entropy_floor": 1.7,
}
IDS = padded([*CAPTIONS, *CAPTIONS[::-1], CAPTIONS[1]])  # 7 images, the captions of unlike lengths


@contextlib.contextmanager
def eagerly() -> Iterator[None]:
    """Compile nothing, which takes most of the time."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def replica(captioner: Captioner, **changes) -> Replica:
    recipe = config(**(RECIPE | {"label_smoothing": 0.1} | changes))
    optimizer = build_optimizer(recipe, 10)
    optimizer.build(captioner.trainable_variables)
    return Replica(recipe, captioner, optimizer)


def sums(
    captioner,
    inputs,
    pieces: int,
    compile_=None,
    ids=IDS,
    totals=None,
    advantages=None,
    **changes,
):
    """Return losses and gradients by name, of a batch that is computed in pieces."""
    made = replica(captioner, accumulate_steps=pieces, **changes)
    function = compile_(made.differentiate) if compile_ else made.differentiate
    losses, gradients = function(inputs, ids, tf.constant([1, 5]), None, totals, advantages)
    names = [variable.path for variable in made.variables]
    return losses._asdict() | dict(zip(names, gradients, strict=True))


def assert_equal(actual, expected) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("plain", [True, False])
def test_pieces_sum_up_to_the_batch(plain):
    captioner = small_captioner()
    captioner.plain = plain
    features = some_features(len(IDS))
    with eagerly():
        expected = sums(captioner, features, 1)
        assert max(np.abs(gradient).max() for gradient in expected.values()) > 0.1
        # 2 pieces of 4 and 3; 4 of 2, 2, 2, 1; 5 pieces would be of 2 images, so there are 4.
        for pieces in (2, 4, 5, 7, 100):
            assert_equal(sums(captioner, features, pieces), expected)


def test_an_encoder_with_batch_norm_gets_the_gradients_of_the_batch(monkeypatch):
    """Only with its statistics frozen is a batch the sum of its pieces."""
    use_normed_encoder(monkeypatch)
    encoder = Encoder("small_cnn", trainable=True)
    captioner = Captioner(encoder, DecoderConfig(**(SIZES | {"feature_depth": 128})))
    captioner.plain = True
    pixels = np.random.default_rng(1).uniform(0, 255, (len(IDS), 64, 64, 3)).astype(np.float32)
    with eagerly():
        expected = sums(captioner, tf.constant(pixels), 1)
        assert np.abs(expected["stem/kernel"]).max() > 1e-3
        assert_equal(sums(captioner, tf.constant(pixels), 3), expected)


def test_a_graph_for_batches_of_all_sizes_computes_pieces(monkeypatch):
    captioner = small_captioner()
    captioner.plain = True
    sizes = [tf.TensorSpec([None, 6, 10]), tf.TensorSpec([None, None, None], tf.int32)]

    def compile_(function):
        traced = tf.function(
            lambda inputs, ids: function(inputs, ids, (1, 5)), input_signature=sizes
        )
        return lambda inputs, ids, *_: traced(inputs, ids)

    with eagerly():
        expected = [sums(captioner, some_features(n), 1, ids=IDS[:n]) for n in (7, 1)]
    made = [sums(captioner, some_features(n), 3, compile_, ids=IDS[:n]) for n in (7, 1)]
    for actual, by_eager in zip(made, expected, strict=True):
        assert_equal(actual, by_eager)


def test_a_replicas_share_in_pieces_is_its_share():
    captioner = small_captioner()
    captioner.plain = True
    words, captions = count_words(IDS)
    totals = BatchTotals(words * 3, captions * 2, 4)  # three more shares, of somebody else
    with eagerly():
        features = some_features(len(IDS))
        expected = sums(captioner, features, 1, totals=totals)
        assert_equal(sums(captioner, features, 3, totals=totals), expected)


def test_sampled_captions_bring_their_advantages_into_their_piece():
    captioner = small_captioner()
    captioner.plain = True
    features = some_features(len(IDS))
    drawn = np.random.default_rng(1).normal(size=IDS.shape[:2]).astype(np.float32)
    with eagerly():
        expected = sums(captioner, features, 1, advantages=tf.constant(drawn))
        assert_equal(sums(captioner, features, 3, advantages=tf.constant(drawn)), expected)


def test_each_piece_has_dropout_masks_of_its_own_that_can_be_repeated():
    captioner = small_captioner()
    captioner.plain = True
    features = tf.repeat(some_features(1), 6, 0)  # six times the same image and captions
    ids = tf.repeat(IDS[:1], 6, 0)
    with eagerly():
        of = {
            pieces: [
                float(sums(captioner, features, pieces, ids=ids, dropout=0.5)["cross_entropy"])
                for _ in range(2)
            ]
            for pieces in (1, 2, 3)
        }
        no_two = {values[0] for values in of.values()}
        one_mask = float(sums(captioner, features[:3], 1, ids=ids[:3], dropout=0.5)["total"])
        two_masks = float(sums(captioner, features, 2, ids=ids, dropout=0.5)["total"])
    assert all(first == again for first, again in of.values())
    assert len(no_two) == 3
    assert abs(one_mask - two_masks) > 1e-3  # twice the same masks would give the same mean


@pytest.mark.slow
@pytest.mark.parametrize("plain", [True, False])
def test_a_compiled_step_in_pieces_ends_where_one_at_once_does(plain):
    """XLA compiles the plain formulation whole, and parts of the fast one."""

    def trained(pieces: int) -> dict[str, np.ndarray]:
        captioner = small_captioner()
        captioner.plain = plain
        recipe = config(**RECIPE, accumulate_steps=pieces, warmup_steps=0, learning_rate=1e-2)
        optimizer = build_optimizer(recipe, 10)
        optimizer.build(captioner.trainable_variables)
        step = build_step(recipe, captioner, optimizer)
        scalars = [step(some_features(n), IDS[:n]) for n in (7, 2)]
        values = {f"{name} {n}": v for n in (0, 1) for name, v in scalars[n].items()}
        return values | {variable.path: variable.numpy() for variable in captioner.decoder.weights}

    expected = trained(1)
    actual = trained(3)
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, atol=2e-4, err_msg=name)
