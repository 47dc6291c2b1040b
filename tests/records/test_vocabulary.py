"""Words and ids, and the file that holds them."""

from collections import Counter

import pytest

from cli.errors import UserError
from records.vocabulary import SPECIAL, Vocabulary


def test_vocabulary_is_ordered_and_reads_back():
    counts = Counter({"dog": 5, "a": 9, "cat": 5, "rare": 1, "<unk>": 7})
    vocabulary = Vocabulary.build(counts, 2, captions=3)
    assert vocabulary.words == (*SPECIAL, "a", "cat", "dog")
    assert vocabulary.counts == (0, 3, 3, 8, 9, 5, 5)
    assert vocabulary.encode("A dog, a zebra!") == [1, 4, 6, 4, 3, 2]
    assert vocabulary.decode([1, 4, 6, 2, 5, 0]) == "a dog"
    again = Vocabulary.from_tsv(vocabulary.to_tsv(), "here")
    assert (again.words, again.counts) == (vocabulary.words, vocabulary.counts)
    assert again.fingerprint == vocabulary.fingerprint
    assert Vocabulary([*SPECIAL, "a"], [0] * 5).fingerprint != vocabulary.fingerprint


def test_a_limit_keeps_the_most_frequent_words():
    counts = Counter({"dog": 5, "a": 9, "cat": 5, "the": 7, "rare": 1, "<unk>": 7})
    limited = Vocabulary.build(counts, 2, captions=3, max_words=3)
    assert limited.words == (*SPECIAL, "a", "the", "cat")  # "cat" before "dog": a tie
    assert limited.counts == (0, 3, 3, 13, 9, 7, 5)  # <unk>: itself, "dog" and "rare"
    assert Vocabulary.build(counts, 6, max_words=3).words == (*SPECIAL, "a", "the")
    without = Vocabulary.build(counts, 2)
    for most in (0, 4, 10**12):
        assert Vocabulary.build(counts, 2, max_words=most).words == without.words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "v.tsv:1: expected"),
        ("<pad>\t0\n<start>\t1\nword", "v.tsv:3: expected `word<TAB>count`, found 'word'"),
        ("a\t1\n", "v.tsv: the first four words must be <pad> <start> <end> <unk>"),
        ("<pad>\t0\n<start>\t1\n<end>\t1\n<unk>\t5\n", "no word but the special ones"),
        ("<pad>\t0\n<start>\t0\n<end>\t0\n<unk>\t0\na\t1\na\t1\n", "the word 'a' comes twice"),
    ],
)
def test_damaged_vocabulary(text, message):
    with pytest.raises(UserError, match=message):
        Vocabulary.from_tsv(text, "v.tsv")
