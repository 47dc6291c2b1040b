"""A run that begins with the weights of another: which words, and what is better for it."""

import json

import numpy as np
import pytest
import tensorflow as tf

from records.vocabulary import SPECIAL, UNK, Vocabulary
from tests.support.captioner import small_captioner, some_features
from tests.support.training import train
from trainer.opening import initial_weights

OLD = Vocabulary([*SPECIAL, "a", "dog", "runs", "cat"], [0, 9, 9, 5, 9, 4, 3, 2])
NEW = Vocabulary([*SPECIAL, "cat", "a", "zebra", "gnu"], [0, 9, 9, 1, 9, 7, 6, 2])


def transferred(old: Vocabulary = OLD, new: Vocabulary = NEW):
    trained = small_captioner(1, vocabulary_size=len(old), feature_depth=128)
    captioner = small_captioner(2, vocabulary_size=len(new), feature_depth=128)
    fresh = [np.array(variable) for variable in captioner.decoder.variables]
    initial_weights._assign(captioner, trained, True, old, new)
    return trained.decoder, captioner.decoder, fresh


def word_rows(decoder) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kernel, bias = decoder.output_logits
    return np.array(decoder.embedding), np.transpose(kernel), np.array(bias)


def test_words_that_are_known_keep_their_weights_wherever_they_stand():
    trained, decoder, _ = transferred()
    places = [0, 1, 2, OLD.words.index("cat"), OLD.words.index("a")]
    for before, now in zip(word_rows(trained), word_rows(decoder), strict=True):
        np.testing.assert_array_equal(now[[0, 1, 2, 4, 5]], before[places])
    others = [v for v in decoder.variables if "embedding" not in v.path and "logits" not in v.path]
    expected = {variable.path: variable for variable in trained.variables}
    assert len(others) > 10
    for variable in others:
        np.testing.assert_array_equal(variable, expected[variable.path])


def test_new_words_share_what_was_unknown():
    """Known words stay as likely as they were; new ones and <unk> divide <unk>'s probability."""
    trained, decoder, _ = transferred()
    for each in (decoder, trained):
        np.testing.assert_array_equal(each.embedding[UNK], trained.embedding[UNK])
    before, now = (
        tf.nn.softmax(each.logits(tf.constant(some_features(depth=9, locations=1)))).numpy()[:, 0]
        for each in (trained, decoder)
    )
    # "dog" and "runs" are gone from the sum: compare with what is left.
    before = before[:, [0, 1, 2, OLD.words.index("cat"), OLD.words.index("a"), UNK]]
    before /= before.sum(-1, keepdims=True)
    np.testing.assert_allclose(now[:, [0, 1, 2, 4, 5]], before[:, :5], rtol=1e-4)
    np.testing.assert_allclose(
        now[:, [UNK, 6, 7]], before[:, 5:] * [1 / 9, 6 / 9, 2 / 9], rtol=1e-4
    )


def test_new_words_begin_as_in_a_new_run_where_no_word_was_unknown():
    nothing_unknown = Vocabulary(OLD.words, [*OLD.counts[:UNK], 0, *OLD.counts[UNK + 1 :]])
    trained, decoder, fresh = transferred(nothing_unknown)
    drawn = {v.path: array for v, array in zip(decoder.variables, fresh, strict=True)}
    kernel, bias = decoder.output_logits
    np.testing.assert_array_equal(decoder.embedding[6:], drawn[decoder.embedding.path][6:])
    np.testing.assert_array_equal(kernel[:, 6:], drawn[kernel.path][:, 6:])
    np.testing.assert_array_equal(bias[6:], drawn[bias.path][6:])
    np.testing.assert_array_equal(bias[UNK], trained.output_logits.bias[UNK])


def test_the_line_about_the_words():
    line = initial_weights._words_remark("RUN", OLD, NEW)
    assert line == "2 of 4 words are known to RUN; the others begin as its <unk>"
    fewer = Vocabulary(NEW.words[:6], NEW.counts[:6])
    assert initial_weights._words_remark("RUN", OLD, fewer) == "2 of 2 words are known to RUN"


@pytest.fixture
def eager():
    """Steps that are not compiled: to compile them takes longer than to run these few."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.slow
@pytest.mark.usefixtures("without_meteor", "eager")
def test_a_few_images_fine_tuned_beat_the_same_from_scratch(scenes_records, tmp_path):
    scenes = {"records_dir": scenes_records, "batch_size": 8}
    assert train(run_dir=tmp_path / "first", epochs=12, seed=2, **scenes) == 0
    few = scenes | {"max_train_images": 8, "epochs": 3}
    tuned = {"init_run": tmp_path / "first", "learning_rate": 1e-3}
    assert train(run_dir=tmp_path / "scratch", **few) == 0
    assert train(run_dir=tmp_path / "tuned", **few | tuned) == 0
    assert least_loss(tmp_path / "tuned") < least_loss(tmp_path / "scratch") - 0.3  # nats


def least_loss(run_dir) -> float:
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return min(line["cross_entropy"] for line in lines if line["kind"] == "val")
