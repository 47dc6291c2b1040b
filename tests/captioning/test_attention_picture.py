"""What a picture shows of an attention: a tile for each word, one for all words, or none."""

import numpy as np
import pytest

from captioning.attention_picture import (
    EVERY_WORD,
    PicturedCaption,
    brightness,
    looks,
    render,
    scale,
)

WORDS = ["a", "dog", "runs"]
HEATS = np.random.default_rng(1).dirichlet(np.ones(12), 3).reshape(3, 3, 4).astype(np.float32)
STILL = np.repeat(HEATS[:1], 3, 0)


def tiles(attention: np.ndarray | None) -> int:
    """Return how many tiles are drawn beside the image, which is blue."""
    blue = np.zeros((40, 40, 3), np.uint8) + np.array([0, 0, 255], np.uint8)
    page = np.asarray(render([PicturedCaption(blue, "a dog runs", WORDS, attention)])).astype(int)
    columns = page[60:190].reshape(-1, 8, 176, 3)  # above the scale
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


def test_brightness_runs_from_an_even_share_to_the_highest_weight_of_the_caption():
    flat = np.full((2, 3, 4), 1 / 12, np.float32)
    flat[0, 0, 0] *= 1.2  # looks at one place, hardly more than at the others
    flat[1, 1, 1] *= 1.1
    shown = brightness(flat, float(flat.max()))
    assert shown[0, 0, 0] == pytest.approx(1, abs=1e-5)
    assert shown[1, 1, 1] == pytest.approx(np.log(1.1) / np.log(1.2), abs=1e-5)
    assert np.count_nonzero(shown > 1e-3) == 2  # even shares are dark
    less = np.array([[0.01, 0.01, 0.01, 0.97]], np.float32)
    np.testing.assert_allclose(brightness(less, 0.97), [[0, 0, 0, 1]], atol=1e-6)
    assert not np.any(brightness(np.full((2, 2), 0.25, np.float32), 0.25))


def test_the_scale_is_told():
    assert scale(np.full((2, 2, 2), 0.25, np.float32) * [[[1, 1], [2, 0]]]) == (
        "Dark: 25.0% of the attention, an even share, or less. Bright: 50.0%, the most in this"
        " caption, 2.0 times as much. The scale is logarithmic."
    )
    blue = np.zeros((40, 40, 3), np.uint8)
    with_scale, without = (
        render([PicturedCaption(blue, "a dog runs", WORDS, x)]).height for x in (HEATS, None)
    )
    assert with_scale > without
