"""The training step as a GPU runs it, and the weights that it starts from."""

import numpy as np
import pytest
import tensorflow as tf

from model.definition import forcing
from records.manifest import read_vocabulary
from records.split_files import open_split
from tests.support.captioner import CAPTIONS, padded, small_captioner, some_features
from tests.support.training import config
from trainer.distribution import one_device
from trainer.opening.open_run import open_run
from trainer.optimizer import build_optimizer
from trainer.step import build_step, few_lengths


def plain_step(recipe):
    """Return a captioner as on a GPU, and its step: the definition, compiled whole."""
    captioner = small_captioner()
    captioner.plain = True
    optimizer = build_optimizer(recipe, 20)
    optimizer.build(captioner.trainable_variables)
    return captioner, build_step(recipe, captioner, optimizer)


@pytest.mark.slow
def test_the_plain_step_with_dropout_under_xla_is_the_definition(monkeypatch):
    """XLA draws other masks than TensorFlow, so the definition gets XLA's here."""
    options = {"doubly_stochastic": 0.5, "attention_entropy": 0.2, "label_smoothing": 0.1}
    recipe = config(dropout=0.5, l2=0.01, clip_norm=1e9, warmup_steps=0, **options)
    captioner, step = plain_step(recipe)
    features, ids = some_features(), padded(CAPTIONS)
    scalars = [{name: float(v) for name, v in step(features, ids).items()} for _ in range(2)]

    other = small_captioner()
    other.plain = True
    optimizer = build_optimizer(recipe, 20)
    optimizer.build(other.trainable_variables)
    compiled = tf.function(forcing.keep_mask, autograph=False, jit_compile=True)
    drawn = []

    def keep_mask(shape, rate, seed, place):
        mask = compiled(tf.get_static_value(shape), rate, seed, place)
        drawn.append(mask.numpy())
        return mask

    tf.config.run_functions_eagerly(True)
    try:
        monkeypatch.setattr(forcing, "keep_mask", keep_mask)
        uncompiled = build_step(recipe, other, optimizer)
        expected = [{name: float(v) for name, v in uncompiled(features, ids).items()} for _ in "ab"]
    finally:
        tf.config.run_functions_eagerly(False)
    for ours, by_definition in zip(scalars, expected, strict=True):
        assert ours == pytest.approx(by_definition, rel=1e-3)
    for a, b in zip(captioner.decoder.variables, other.decoder.variables, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4, err_msg=a.path)
    # Four masks a step, all of them other ones, and half of the elements of each are dropped.
    assert len(drawn) == 8
    same = np.corrcoef([mask.ravel()[:160] for mask in drawn])
    assert np.abs(same[~np.eye(8, dtype=bool)]).max() < 0.4
    for mask in drawn:
        assert set(np.unique(mask)) == {0, 2}
        assert mask.mean() == pytest.approx(1, abs=0.25)


@pytest.mark.slow
def test_a_compiled_step_with_dropout_is_a_function_of_seed_and_step():
    recipe = config(dropout=0.5, learning_rate=0.0, warmup_steps=0)
    features, ids = some_features(), padded(CAPTIONS)

    def losses(changes):
        _, step = plain_step(config(dropout=0.5, learning_rate=0.0, warmup_steps=0, **changes))
        return [float(step(features, ids)["cross_entropy"]) for _ in range(2)]

    assert recipe.seed != 7
    first = losses({})
    assert losses({}) == first
    assert abs(first[0] - first[1]) > 1e-3  # the weights stay as they are, the masks do not
    assert abs(losses({"seed": 7})[0] - first[0]) > 1e-3


def test_the_seed_chooses_the_initial_weights(tmp_path, scenes_records):
    info, train = open_split(str(scenes_records), "train")
    vocabulary = read_vocabulary(str(scenes_records))

    def drawn(name, seed):
        recipe = config(records_dir=scenes_records, run_dir=tmp_path / name, seed=seed)
        captioner = open_run(recipe, {}, info, vocabulary, train, one_device()).captioner
        decoder, network = captioner.decoder, captioner.encoder.network
        return [v.numpy() for v in (*decoder.trainable_variables, *network.trainable_variables)]

    first, again, other = drawn("a", 1), drawn("b", 1), drawn("c", 2)
    random = [len(np.unique(weights)) > 2 for weights in first]  # others are zeros and ones
    assert sum(random) > 10
    for a, b, c, is_random in zip(first, again, other, random, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.array_equal(a, c) != is_random


def test_a_step_that_is_compiled_whole_meets_few_lengths():
    lengths = {few_lengths(tf.ones([2, 3, words], tf.int32)).shape[-1] for words in range(2, 18)}
    assert lengths == {5, 9, 13, 17}
    ids = tf.constant([[[1, 5, 2]]])
    assert few_lengths(ids).numpy().tolist() == [[[1, 5, 2, 0, 0]]]
