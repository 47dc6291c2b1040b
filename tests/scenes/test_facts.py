"""The checker: whole claims only, nothing for vagueness, and a false word makes a false claim."""

import pytest

from scenes.captions import RELATION_WORDS, captions
from scenes.facts import Broken, check, check_all, claims
from scenes.world import COLOURS, SHAPES, SIZES, Scene, Thing, scenes

# Two small red circles, one above the other, left of a large blue square.
SCENE = Scene(
    1,
    "val",
    (
        Thing("circle", "red", "small", (4, 10, 16, 22)),
        Thing("circle", "red", "small", (4, 34, 16, 46)),
        Thing("square", "blue", "large", (36, 16, 60, 40)),
    ),
)


@pytest.mark.parametrize(
    ("caption", "true", "total"),
    [
        # A phrase is true of one thing, not of words spread over several.
        ("a large blue square", 1, 1),
        ("a small red circle", 1, 1),
        ("a small blue circle", 0, 1),
        ("a large red circle", 0, 1),
        ("a small red square", 0, 1),
        # A count is exact, and "a" is at least one.
        ("two small red circles", 1, 1),
        ("one small red circle", 0, 1),
        ("three small red circles", 0, 1),
        ("one large blue square", 1, 1),
        # Naming a kind again claims more of it.
        ("a small red circle and a small red circle", 2, 2),
        ("a small red circle a small red circle a small red circle", 2, 3),
        ("two small red circles and a small red circle", 1, 2),
        ("a large blue square and a large blue square", 1, 2),
        # A relation holds between the things named, in that order.
        ("two small red circles to the left of a large blue square", 3, 3),
        ("a large blue square to the right of two small red circles", 3, 3),
        ("a large blue square to the left of two small red circles", 2, 3),
        ("two small red circles above a large blue square", 2, 3),
        ("two small blue circles to the left of a large blue square", 1, 3),
        ("a small red circle above a small red circle", 3, 3),
        ("a small red circle is to the left of a large blue square", 3, 3),
        (
            "a small red circle to the left of a large blue square and above a small red circle",
            5,
            5,
        ),
        ("a small red circle to the left of a large blue square above a small red circle", 4, 5),
        # The frames are free, but only about a phrase; commas and capitals do not count.
        ("There are two small red circles, and a large blue square.", 2, 2),
        ("there is a large blue square in the picture", 1, 1),
        ("the picture shows two small red circles a large blue square", 2, 2),
        # Half a claim, a vague one, none, or garbage: false.
        ("", 0, 1),
        ("...", 0, 1),
        ("<unk> <unk>", 0, 1),
        ("\N{GRINNING FACE}", 0, 1),
        ("a picture of", 0, 1),
        ("a red", 0, 1),
        ("a red circle", 0, 1),
        ("a circle", 0, 1),
        ("a small shape", 0, 1),
        ("two small red circle", 0, 1),
        ("a small red circles", 0, 1),
        ("a red small circle", 0, 1),
        ("small red circle", 0, 1),
        ("a large blue square and", 1, 2),
        ("and a large blue square", 1, 2),
        ("a large blue square is", 1, 2),
        ("a large blue square to the", 1, 2),
        ("a large blue square to the right of", 1, 2),
        ("a large blue square to the right of a small", 1, 2),
        ("above a large blue square", 1, 2),
        ("is above a large blue square", 1, 2),
        ("there is there is a large blue square", 1, 2),
        ("in the picture", 0, 1),
        ("a small red and a large blue square", 1, 2),
        ("a small red red circle to the left of a large blue square", 1, 2),
        ("a large blue square with a hat above two small red circles", 2, 3),
        ("above above above", 0, 1),
    ],
)
def test_whole_claims(caption, true, total):
    assert check(caption, SCENE) == (true, total)


def test_a_group_is_related_only_as_a_whole():
    things = (
        Thing("circle", "red", "small", (4, 4, 16, 16)),
        Thing("circle", "red", "small", (48, 30, 60, 42)),
        Thing("square", "blue", "small", (26, 30, 38, 42)),
    )
    scene = Scene(1, "val", things)
    assert check("two small red circles to the right of a small blue square", scene) == (2, 3)
    assert check("a small red circle to the right of a small blue square", scene) == (3, 3)


def test_any_string_has_a_claim():
    for caption in ("", "\n", "\x00", "a " * 50, "to the left of " * 9, "there is and is", "A,b;c"):
        made = claims(caption)
        assert made
        assert all(isinstance(claim, Broken) for claim in made)


def test_captions_are_summed_over_images():
    empty = Scene(2, "val", ())
    said = {1: "two small red circles and a small green cross", 2: "a large blue square"}
    assert check_all(said, {1: SCENE, 2: empty}) == (1, 3)
    with pytest.raises(KeyError):
        check_all({3: "a large blue square"}, {1: SCENE})


ONE = {"a", "one"}
RELATIONS = tuple(tuple(words.split()) for words in RELATION_WORDS.values())


def swaps(caption: str):
    """Every caption that differs in one content word; with a count its noun's number follows."""
    words = caption.replace(",", "").split()
    plural = {shape: shape + ("es" if shape == "cross" else "s") for shape in SHAPES}
    singular = {many: one for one, many in plural.items()}
    for at, word in enumerate(words):
        for alike in (COLOURS, SIZES, SHAPES, tuple(singular)):
            for other in alike if word in alike else ():
                if other != word:
                    yield " ".join([*words[:at], other, *words[at + 1 :]])
        starts_phrase = words[at + 1 : at + 2] and words[at + 1] in SIZES
        if word in ("a", "one", "two", "three") and starts_phrase:
            noun = singular.get(words[at + 3], words[at + 3])
            # "a" for "one" is no swap: for one thing both are right.
            for other in {"a", "one", "two", "three"} - (ONE if word in ONE else {word}):
                shape = noun if other in ONE else plural[noun]
                phrase = [other, *words[at + 1 : at + 3], shape]
                yield " ".join([*words[:at], *phrase, *words[at + 4 :]])
        for said in RELATIONS:
            if tuple(words[at : at + len(said)]) == said:
                for other in set(RELATIONS) - {said}:
                    yield " ".join([*words[:at], *other, *words[at + len(said) :]])


def test_one_swapped_word_makes_it_false():
    captions_true = claims_true = claims_changed = n_swaps = 0
    for scene in scenes(3000, 1)[2400:2700]:
        for caption in captions(scene):
            before = claims(caption)
            for swapped in sorted(set(swaps(caption))):
                after = claims(swapped)
                assert len(after) == len(before), swapped
                changed = [new for old, new in zip(before, after, strict=True) if old != new]
                assert changed, swapped
                n_swaps += 1
                claims_changed += len(changed)
                claims_true += sum(claim.holds(scene) for claim in changed)
                captions_true += all(claim.holds(scene) for claim in after)
    assert n_swaps > 20_000
    # Most of what stays true is "a" for "two" or "three": it claims less, and rightly.
    assert captions_true < 0.05 * n_swaps, f"{captions_true} of {n_swaps}"
    assert claims_true < 0.05 * claims_changed, f"{claims_true} of {claims_changed}"
