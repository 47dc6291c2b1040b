"""What scores do not show: how captions repeat themselves, how they end, what they leave out.

All functions take tokens as the metrics do (metrics/tokens.py).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from metrics.tokens import Tokens
from records.language import ENGLISH, is_english

_BAD_ENDINGS = """
a an the this that his her its their some and or with without of in on at to for from by is are
"""
# Together with those, the words that hold a sentence together and show nothing of the picture.
_FUNCTION_WORDS = """
near over under it he she they them him one two be has have being while as up out down off there 's
other another each into behind front through around along who which what
"""
# Words that no complete caption ends in.
UNFINISHED = frozenset(_BAD_ENDINGS.split())
_WITHOUT_CONTENT = UNFINISHED | frozenset(_FUNCTION_WORDS.split())


@dataclass(frozen=True)
class Diversity:
    """How varied and how complete captions are, and two numbers of their references beside it.

    Shares are fractions of the captions, unless said otherwise. The attributes are also keys of the
    files that hold scores.

    Attributes:
        words: Number of different words in the captions.
        vocabulary_coverage: Share of the references' different words that some caption has.
        distinct_captions: Number of different captions, as a share of all.
        repeated_2grams: Share that have the same two words in a row twice.
        repeated_3grams: Share that have the same three words in a row twice.
        repeated_4grams: Share that have the same four words in a row twice.
        bad_endings: Share that end in the middle, as in "with a", or hold no word; None where the
            captions are not English.
        mean_length: Words a caption.
        references_bad_endings: Share of the references that end in the middle; None likewise.
        references_mean_length: Words a reference.
    """

    words: int
    vocabulary_coverage: float
    distinct_captions: float
    repeated_2grams: float
    repeated_3grams: float
    repeated_4grams: float
    bad_endings: float | None
    mean_length: float
    references_bad_endings: float | None
    references_mean_length: float

    def as_text(self) -> str:
        """Return the two lines that commands print."""
        endings = ""
        if self.bad_endings is not None:
            endings = (
                f" bad endings {self.bad_endings:.1%}"
                f" (references {self.references_bad_endings:.1%});"
            )
        return (
            f"{self.words:,} different words ({self.vocabulary_coverage:.1%} of the"
            f" references'); {self.distinct_captions:.1%} of the captions are distinct\n"
            f"mean length {self.mean_length:.1f} words (references"
            f" {self.references_mean_length:.1f});{endings} captions that repeat 2 words"
            f" {self.repeated_2grams:.1%}, 3 {self.repeated_3grams:.1%}, 4"
            f" {self.repeated_4grams:.1%}"
        )


def measure(hypotheses: Tokens, references: Tokens, language: str = ENGLISH) -> Diversity:
    """Measure one caption of each image, and the references beside them.

    Args:
        hypotheses: Image id -> a list of its one caption.
        references: Image id -> its reference captions.
        language: Checked tag of their language. Only the endings of English are known.

    Returns:
        The counts and shares.
    """
    captions = [texts[0].split() for texts in hypotheses.values()]
    written = [text.split() for texts in references.values() for text in texts]
    english = is_english(language)
    reference_words = {word for words in written for word in words}
    words = {word for caption in captions for word in caption}
    return Diversity(
        words=len(words),
        vocabulary_coverage=len(words & reference_words) / max(1, len(reference_words)),
        distinct_captions=len(set(map(tuple, captions))) / len(captions),
        repeated_2grams=_share(_repeats(caption, 2) for caption in captions),
        repeated_3grams=_share(_repeats(caption, 3) for caption in captions),
        repeated_4grams=_share(_repeats(caption, 4) for caption in captions),
        bad_endings=_share(map(_ends_badly, captions)) if english else None,
        mean_length=sum(map(len, captions)) / len(captions),
        references_bad_endings=_share(map(_ends_badly, written)) if english else None,
        references_mean_length=sum(map(len, written)) / max(1, len(written)),
    )


class MissedWord(NamedTuple):
    """A word that people agree on and captions leave out."""

    word: str
    missed: int  # Images whose caption leaves it out.
    images: int  # Images in which at least half of the references have it.


def most_missed(hypotheses: Tokens, references: Tokens, limit: int = 20) -> list[MissedWord]:
    """Return the words left out in most images, except words that only hold a sentence together.

    Args:
        hypotheses: Image id -> a list of its one caption.
        references: Image id -> its reference captions.
        limit: Return no more words than this.

    Returns:
        The words, most often missed first, ties in alphabetical order.
    """
    agreed, missed = Counter[str](), Counter[str]()
    for image, texts in references.items():
        counts = Counter(word for text in texts for word in set(text.split()))
        agreed_here = {
            word for word, count in counts.items() if 2 * count >= len(texts)
        } - _WITHOUT_CONTENT
        agreed.update(agreed_here)
        missed.update(agreed_here - set(hypotheses[image][0].split()))
    ranked = sorted(missed, key=lambda word: (-missed[word], word))[:limit]
    return [MissedWord(word, missed[word], agreed[word]) for word in ranked]


def _repeats(caption: Sequence[str], n: int) -> bool:
    ngrams = [tuple(caption[k : k + n]) for k in range(len(caption) - n + 1)]
    return len(set(ngrams)) < len(ngrams)


def _ends_badly(caption: Sequence[str]) -> bool:
    return not caption or caption[-1] in UNFINISHED


def _share(answers: Iterable[bool]) -> float:
    answers = list(answers)
    return sum(answers) / max(1, len(answers))
