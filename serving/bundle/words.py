"""The words of a bundle: from a caption's ids to its words, and to a sentence."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Self

END = 2
_START, _PAD = 1, 0
# The bit of joins.tsv that stands for a tsheg between two words; every other bit joins them.
TIBETAN = 1
TSHEG = "\u0f0b"


@dataclasses.dataclass(frozen=True)
class Words:
    """What the ids of a bundle mean, and how words become a sentence.

    Attributes:
        words: The word of each id.
        ends: Bits of each word for the word after it.
        begins: Bits of each word for the word before it.
    """

    words: tuple[str, ...]
    ends: tuple[int, ...]
    begins: tuple[int, ...]

    @classmethod
    def parse(cls, vocabulary: str, joins: str) -> Self:
        """Parse the two files of a bundle.

        Args:
            vocabulary: Lines `word<TAB>count`, in the order of the ids.
            joins: A line `ends<TAB>begins` for each of the words.

        Raises:
            ValueError: A line is malformed, or the files have not the same number of lines.
        """
        words = [line.rpartition("\t")[0] for line in _lines(vocabulary)]
        if not all(words) or len(words) <= END:
            raise ValueError("vocabulary.tsv: expected lines `word<TAB>count`")
        pairs = [tuple(map(int, line.split("\t"))) for line in _lines(joins)]
        if len(pairs) != len(words) or any(len(pair) != 2 or min(pair) < 0 for pair in pairs):
            raise ValueError("joins.tsv: expected a line `ends<TAB>begins` for each word")
        ends, begins = zip(*pairs, strict=True)
        return cls(tuple(words), ends, begins)

    def ids_of_words(self, ids: Iterable[int]) -> list[int]:
        """Return the ids up to `<end>`, without `<start>` and `<pad>`.

        Args:
            ids: Of a caption.
        """
        of_words: list[int] = []
        for word_id in ids:
            if word_id == END:
                break
            if word_id not in (_PAD, _START):
                of_words.append(word_id)
        return of_words

    def join(self, ids: Sequence[int]) -> str:
        """Return words as people write them: `dog 's` becomes `dog's`.

        Args:
            ids: As `ids_of_words` returns them.
        """
        pieces: list[str] = []
        for before, word_id in zip([None, *ids], ids, strict=False):
            if before is not None:
                pieces.append(self._between(before, word_id))
            pieces.append(self.words[word_id])
        return "".join(pieces)

    def _between(self, before: int, after: int) -> str:
        bits = self.ends[before] & self.begins[after]
        if bits & ~TIBETAN:
            return ""
        return TSHEG if bits else " "


def _lines(text: str) -> list[str]:
    # Not splitlines(): a word may contain a character that it takes for the end of a line.
    return text.removesuffix("\n").split("\n")
