"""Shares and counts of a few captions, counted by hand."""

import dataclasses

import pytest

from metrics import diversity

CAPTIONS = {
    1: ["a dog runs with a"],
    2: ["a dog and a dog and a dog"],
    3: ["a cat on the sofa"],
    4: ["a cat on the sofa"],
    5: [""],
}
REFERENCES = {
    1: ["a brown dog runs on grass", "the dog runs", "a brown dog on the grass", "dog with a ball"],
    2: ["two dogs", "a dog with two dogs"],
    3: ["a cat on a sofa", "the red sofa"],
    4: ["a cat sleeps", "one black cat sleeps in"],
    5: ["grass"],
}


def test_counts():
    measured = diversity.measure(CAPTIONS, REFERENCES)
    known = {word for texts in REFERENCES.values() for text in texts for word in text.split()}
    assert dataclasses.asdict(measured) == pytest.approx(
        {
            "words": 9,  # a dog runs with and cat on the sofa
            "vocabulary_coverage": 8 / len(known),  # "and" is in no reference
            "distinct_captions": 4 / 5,
            "repeated_2grams": 1 / 5,
            "repeated_3grams": 1 / 5,  # "a dog and", "dog and a"
            "repeated_4grams": 1 / 5,  # "a dog and a"
            "bad_endings": 2 / 5,  # "with a", and nothing at all
            "mean_length": (5 + 8 + 5 + 5 + 0) / 5,
            "references_bad_endings": 1 / 11,
            "references_mean_length": (6 + 3 + 6 + 4 + 2 + 5 + 5 + 3 + 3 + 5 + 1) / 11,
        }
    )
    text = measured.as_text()
    assert "9 different words" in text
    assert "bad endings 40.0% (references 9.1%)" in text
    assert "80.0% of the captions are distinct" in text


def test_most_missed_words():
    missed = diversity.most_missed(CAPTIONS, REFERENCES)
    # By images, then by word.
    assert [word for word, *_ in missed][:3] == ["grass", "black", "brown"]
    assert missed[0] == ("grass", 2, 2)  # half of the references of 1, all of 5
    by_word = {word.word: word for word in missed}
    assert by_word["dogs"] == ("dogs", 1, 1)
    assert by_word["black"] == ("black", 1, 1)
    assert "dog" not in by_word and "sofa" not in by_word  # the captions have it
    assert "ball" not in by_word  # one reference of four has it
    assert not {"a", "the", "on", "two", "in"} & set(by_word)
    assert len(diversity.most_missed(CAPTIONS, REFERENCES, limit=1)) == 1
