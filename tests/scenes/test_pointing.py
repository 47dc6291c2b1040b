"""The pointing score, on scenes and attention made by hand."""

import numpy as np
import pytest

from scenes import pointing
from scenes.pointing import Named, Pointing
from scenes.world import Scene, Thing

# On a grid of 8 x 8 cells of 8 pixels.
RED = Thing("circle", "red", "small", (4, 4, 17, 17))  # cells 0 to 2, each way, once it has grown
BLUES = [
    Thing("square", "blue", "large", (36, 4, 60, 28)),
    Thing("square", "blue", "large", (36, 36, 60, 60)),
]
SCENE = Scene(1, "test", (RED, *BLUES))
SAID = "a small red circle to the left of two large blue squares"
WORDS = SAID.split()


def looking_at(*cells: tuple[int, int]) -> np.ndarray:
    """Attention [T, 8, 8] with its peak at the cell (row, column) of each word."""
    attention = np.full((len(cells), 8, 8), 0.01)
    for word, (row, column) in enumerate(cells):
        attention[word, row, column] = 0.37
    return attention


def test_colour_and_shape_words_with_what_they_name():
    red, blue = ("small", "red", "circle"), ("large", "blue", "square")
    assert pointing.named_in(WORDS) == [
        *(Named(2, red), Named(3, red)),
        *(Named(10, blue), Named(11, blue)),
    ]
    assert pointing.named_in(["a", "red", "circle"]) == []  # of any size: no phrase of ours
    assert pointing.named_in(["small", "red"]) == []


def test_the_box_grows_by_half_a_cell():
    inside = pointing.covered([RED], (8, 8))
    # Centres lie at 4, 12, 20, ...; the box grown by 4 reaches from 0 to 21.
    assert np.argwhere(inside).tolist() == [[r, c] for r in range(3) for c in range(3)]
    inside = pointing.covered([Thing("circle", "red", "small", (20, 28, 32, 40))], (8, 8))
    assert np.argwhere(inside).tolist() == [[r, c] for r in (3, 4, 5) for c in (2, 3, 4)]
    inside = pointing.covered([RED], (4, 2))  # cells 16 high and 32 wide; centres at 8, 16
    assert np.argwhere(inside).tolist() == [[0, 0], [1, 0]]


def test_hits_are_counted_at_the_word_itself():
    on_red, on_blue, nowhere = (1, 1), (6, 6), (7, 0)
    places = [nowhere] * len(WORDS)
    places[2], places[3], places[10] = on_red, on_red, on_blue  # "squares" looks elsewhere
    found = Pointing()
    found.add(WORDS, looking_at(*places), SCENE)
    assert found.as_json() == pytest.approx(
        {
            "words": 4,
            "score": 3 / 4,
            "chance": (2 * 9 + 2 * pointing.covered(BLUES, (8, 8)).sum()) / 64 / 4,
            "absent": 0,
        }
    )
    # One word too early or too late is not where it was said.
    for shift in (-2, 2):
        moved = Pointing()
        moved.add(WORDS, looking_at(*np.roll(places, shift, axis=0)), SCENE)
        assert moved.hits == 0
    # Any of the things that match will do, and no other.
    places[2], places[11] = on_blue, (1, 6)
    found = Pointing()
    found.add(WORDS, looking_at(*places), SCENE)
    assert found.hits == 3


def test_what_is_not_there_is_counted_apart():
    found = Pointing()
    found.add(["a", "small", "green", "circle"], looking_at(*[(1, 1)] * 4), SCENE)
    assert found.as_json() == {"words": 0, "score": 0, "chance": 0, "absent": 2}


def test_attention_that_looks_anywhere_scores_chance():
    rng = np.random.default_rng(1)
    found = Pointing()
    for _ in range(1000):
        found.add(WORDS, rng.random((len(WORDS), 8, 8)), SCENE)
    values = found.as_json()
    assert values["score"] == pytest.approx(values["chance"], abs=0.03)
    said = pointing.described(values)
    assert f"{values['score']:.0%} of 4,000 colour and shape words" in said
    assert f"(chance {values['chance']:.0%}; 0 other" in said
