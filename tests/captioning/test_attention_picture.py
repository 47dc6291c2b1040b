"""What a picture shows of an attention: a tile for each word, one for all words, or none."""

import numpy as np

from captioning.attention_picture import EVERY_WORD, PicturedCaption, looks, render

WORDS = ["a", "dog", "runs"]
HEATS = np.random.default_rng(1).dirichlet(np.ones(12), 3).reshape(3, 3, 4).astype(np.float32)
STILL = np.repeat(HEATS[:1], 3, 0)


def tiles(attention: np.ndarray | None) -> int:
    """Return how many tiles are drawn beside the image, which is blue."""
    blue = np.zeros((40, 40, 3), np.uint8) + np.array([0, 0, 255], np.uint8)
    page = np.asarray(render([PicturedCaption(blue, "a dog runs", WORDS, attention)])).astype(int)
    columns = page[60:].reshape(-1, 8, 176, 3)
    return sum(bool((columns[:, n] < 250).any()) for n in range(8)) - 1


def test_each_word_has_its_places():
    assert [label for label, _ in looks(WORDS, HEATS)] == WORDS
    assert tiles(HEATS) == 3


def test_words_that_look_at_the_same_places_are_shown_as_one():
    ((label, heat),) = looks(WORDS, STILL)
    assert label == EVERY_WORD
    np.testing.assert_array_equal(heat, HEATS[0])
    assert tiles(STILL) == 1
    moved = STILL + np.eye(3, dtype=np.float32)[:, :, None] * 1e-5
    assert len(looks(WORDS, moved)) == 3  # little, and yet it moves
    assert [label for label, _ in looks(WORDS[:1], HEATS[:1])] == ["a"]


def test_without_an_attention_there_is_the_caption_alone():
    assert looks(WORDS, None) == []
    assert tiles(None) == 0


def test_of_no_words_nothing_is_shown():
    assert looks([], HEATS[:0]) == []
