"""Greedy search over any step function: the same as a plain loop of argmax."""

import numpy as np
import pytest
import tensorflow as tf

from model import search

START, END, V, L = 1, 2, 9, 5


class Table:
    """A step function: the logits of the next word hang on the word, a state and the image."""

    def __init__(self, images: int, seed: int, end_bonus: float = 0.0):
        rng = np.random.default_rng(seed)
        self.images = images
        self.by_word = rng.normal(size=(V, V)).astype(np.float32) * 2
        self.by_state = rng.normal(size=(7, V)).astype(np.float32) * 2
        self.looks = rng.random(size=(7, L)).astype(np.float32)
        self.by_word[:, END] += end_bonus
        self.state = tf.constant(rng.integers(0, 7, (images, 1)), tf.int32)
        self.calls = 0

    def step(self, tokens, state):
        if tf.executing_eagerly():
            self.calls += 1
        logits = tf.gather(self.by_word, tokens) + tf.gather(self.by_state, state)
        return logits, (state * 3 + tokens + 1) % 7, tf.gather(self.looks, state)

    def only(self, image: int) -> "Table":
        """The same step function for one of the images."""
        other = Table.__new__(Table)
        other.__dict__ = self.__dict__ | {"state": self.state[image : image + 1], "images": 1}
        return other

    def greedy(self, **options) -> search.Captions:
        return search.greedy(self.step, self.state, self.images, start=START, end=END, **options)


def by_hand(table: Table, banned=(), max_length=30):
    """ids, log-probability and looks of each image, one image and one word at a time."""
    found = []
    for image in range(table.images):
        word, state = START, int(table.state[image, 0])
        ids, score, looks = [], 0.0, []
        while len(ids) < max_length and word != END:
            logits = (table.by_word[word] + table.by_state[state]).astype(np.float64)
            log_p = logits - np.log(np.exp(logits).sum())  # over all words, banned ones too
            looks.append(table.looks[state])
            state = (state * 3 + word + 1) % 7
            word = max((w for w in range(V) if w not in banned), key=lambda w: log_p[w])
            ids.append(word)
            score += log_p[word]
        found.append((ids, score, looks))
    return found


@pytest.mark.parametrize("banned", [(), (0, 1, 3), (7,)])
@pytest.mark.parametrize("seed", range(5))
def test_equals_a_plain_loop(seed, banned):
    table = Table(6, seed, end_bonus=2.0)
    found = table.greedy(banned=banned)
    expected = by_hand(table, banned)
    longest = max(len(ids) for ids, _, _ in expected)
    assert found.ids.shape == (6, longest)  # it stopped when the last one had ended
    assert table.calls == longest
    for image, (ids, score, looks) in enumerate(expected):
        n = len(ids)
        assert found.ids[image, :n].numpy().tolist() == ids
        assert not np.any(found.ids[image, n:])
        np.testing.assert_allclose(found.log_probability[image], score, rtol=1e-5)
        np.testing.assert_allclose(found.attention[image, :n], looks)
    assert not set(banned) & set(found.ids.numpy()[found.ids.numpy() != 0])


def test_the_random_tables_end_at_different_words():
    lengths = {
        len(ids) for seed in range(5) for ids, _, _ in by_hand(Table(6, seed, end_bonus=2.0))
    }
    assert len(lengths) > 3


def test_stops_at_max_length_without_an_end():
    found = Table(3, 0, end_bonus=-100.0).greedy(max_length=4)
    assert found.ids.shape == (3, 4)
    assert END not in found.ids.numpy()
    for caption, score in zip(
        by_hand(Table(3, 0, -100.0), (), 4), found.log_probability, strict=True
    ):
        np.testing.assert_allclose(score, caption[1], rtol=1e-5)


def test_ends_at_once_when_all_say_end():
    table = Table(4, 0, end_bonus=100.0)
    found = table.greedy()
    assert found.ids.numpy().tolist() == [[END]] * 4
    assert table.calls == 1
    np.testing.assert_allclose(found.log_probability, np.zeros(4), atol=1e-5)


def test_in_graph_and_one_at_a_time_are_the_same():
    table = Table(6, 3, end_bonus=2.0)
    batched = table.greedy(banned=(0, 1))
    compiled = tf.function(lambda: table.greedy(banned=(0, 1)))()
    for one, other in zip(batched, compiled, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    for image in range(6):
        alone = table.only(image).greedy(banned=(0, 1))
        n = alone.ids.shape[1]
        np.testing.assert_array_equal(batched.ids[image, :n], alone.ids[0])
        assert not np.any(batched.ids[image, n:])
        np.testing.assert_allclose(batched.log_probability[image], alone.log_probability[0])
        np.testing.assert_allclose(batched.attention[image, :n], alone.attention[0])
