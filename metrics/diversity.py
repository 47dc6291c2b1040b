"""What scores do not tell of captions: how they repeat themselves, how they end, what they miss.

All functions take official tokens: image id -> captions, words joined by spaces.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

Tokens = Mapping[int, Sequence[str]]

# No caption ends well in one of these.
_BAD_ENDINGS = """
a an the this that his her its their some and or with without of in on at to for from by is are
"""
# Words that, with those, carry the sentence and not what is in the picture.
_FUNCTION_WORDS = """
near over under it he she they them him one two be has have being while as up out down off there 's
other another each into behind front through around along who which what
"""
_ENDING_BADLY = frozenset(_BAD_ENDINGS.split())
_WITHOUT_CONTENT = _ENDING_BADLY | frozenset(_FUNCTION_WORDS.split())


def describe(captions: Tokens, references: Tokens) -> dict[str, float]:
    """Shares and counts of one caption an image, beside what its references are like.

    Returns:
        words: different words said; vocabulary_coverage: share of the references' different
        words that they are; distinct_captions: different captions, as a share of all;
        repeated_2grams to repeated_4grams: share of captions that say so many words in a row
        twice; bad_endings: share that end in "with a" and the like; mean_length: words a caption;
        references_bad_endings, references_mean_length: of the references.
    """
    said = [texts[0].split() for texts in captions.values()]
    written = [text.split() for texts in references.values() for text in texts]
    known = {word for words in written for word in words}
    words = {word for caption in said for word in caption}
    return {
        "words": len(words),
        "vocabulary_coverage": len(words & known) / max(1, len(known)),
        "distinct_captions": len(set(map(tuple, said))) / len(said),
        "repeated_2grams": _share(_repeats(caption, 2) for caption in said),
        "repeated_3grams": _share(_repeats(caption, 3) for caption in said),
        "repeated_4grams": _share(_repeats(caption, 4) for caption in said),
        "bad_endings": _share(map(_ends_badly, said)),
        "mean_length": sum(map(len, said)) / len(said),
        "references_bad_endings": _share(map(_ends_badly, written)),
        "references_mean_length": sum(map(len, written)) / max(1, len(written)),
    }


def lines(found: Mapping[str, float]) -> str:
    """`describe`'s result as it is printed."""
    return (
        f"{found['words']:,} different words ({found['vocabulary_coverage']:.1%} of the"
        f" references'); {found['distinct_captions']:.1%} of the captions are distinct\n"
        f"mean length {found['mean_length']:.1f} words (references"
        f" {found['references_mean_length']:.1f}); bad endings {found['bad_endings']:.1%}"
        f" (references {found['references_bad_endings']:.1%}); captions that repeat 2 words"
        f" {found['repeated_2grams']:.1%}, 3 {found['repeated_3grams']:.1%}, 4"
        f" {found['repeated_4grams']:.1%}"
    )


class Missed(NamedTuple):
    """A word that people agree on and captions leave out."""

    word: str
    missed: int  # images in which it is left out
    images: int  # images in which at least half of the references say it


def most_missed(captions: Tokens, references: Tokens, limit: int = 20) -> list[Missed]:
    """The words left out in most images, those apart that only hold a sentence together."""
    agreed, missed = Counter(), Counter()
    for image, texts in references.items():
        counts = Counter(word for text in texts for word in set(text.split()))
        here = {
            word for word, count in counts.items() if 2 * count >= len(texts)
        } - _WITHOUT_CONTENT
        agreed.update(here)
        missed.update(here - set(captions[image][0].split()))
    ranked = sorted(missed, key=lambda word: (-missed[word], word))[:limit]
    return [Missed(word, missed[word], agreed[word]) for word in ranked]


def _repeats(caption: Sequence[str], n: int) -> bool:
    grams = [tuple(caption[k : k + n]) for k in range(len(caption) - n + 1)]
    return len(set(grams)) < len(grams)


def _ends_badly(caption: Sequence[str]) -> bool:
    return not caption or caption[-1] in _ENDING_BADLY


def _share(found: Iterable[bool]) -> float:
    found = list(found)
    return sum(found) / max(1, len(found))
