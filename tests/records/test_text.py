"""Captions as words, and words as people write them."""

import random
import re

import pytest
from nltk.tokenize.destructive import MacIntyreContractions

from records import text
from records.text import detokenise, tokenise


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A Dog runs.", ["a", "dog", "runs"]),
        ("the dog's ball; isn't it?", ["the", "dog", "'s", "ball", "is", "n't", "it"]),
        ('a "red" (big) one - here', ["a", "red", "big", "one", "here"]),
        ("caf\u00e9 and cafe\u0301", ["café", "and", "café"]),  # NFKC
        ("ﬁre\u00a0truck", ["fire", "truck"]),
        ("stops.here in the street. and", ["stops.here", "in", "the", "street", "and"]),
        ("", []),
        (" ... !", []),
        ("cannot wanna", ["can", "not", "wan", "na"]),
        ("5'9\" tall, 1,000 men", tokenise("5'9\" tall, 1,000 men")),
    ],
)
def test_words_of_a_caption(caption, words):
    assert tokenise(caption) == words


def test_plain_captions_need_no_treebank():
    """The quick way gives what the tokenizer gives, also for words that it treats specially."""
    special = [
        re.sub(r"\(\?[i#][^)]*\)|\\[bs]|[()?]", "", pattern)
        for pattern in (*MacIntyreContractions.CONTRACTIONS2, *MacIntyreContractions.CONTRACTIONS3)
    ]
    assert "cannot" in special and "gimme" in special
    words = ["a", "dog", "7", "mr", "st", "co2", ".", "ph.d", "dog.", "etc.", "1.5", *special]
    draw = random.Random(0)
    for _ in range(3000):
        caption = " ".join(draw.choices(words, k=draw.randint(0, 5))) + draw.choice(["", ".", " ."])
        assert tokenise(caption) == text._treebank_words(" ".join(caption.split())), caption


def test_words_as_people_write_them():
    assert detokenise(["a", "dog", "'s", "bowl", "is", "n't", "full"]) == "a dog's bowl isn't full"
