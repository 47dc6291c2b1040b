"""The vocabulary: words and their ids, built from the train split.

Its file, vocabulary.tsv, lies beside the records and in every run.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

from cli.errors import UserError
from records.text import detokenise, tokenise

PAD, START, END, UNK = 0, 1, 2, 3
# From this share of unknown words on, commands warn.
MANY_UNKNOWN = 0.05
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")


class Vocabulary:
    """An ordered list of words: a word's place is its id.

    Attributes:
        words: V strings; the first four are `SPECIAL`.
        counts: V ints: how often each word was seen in the train captions.
    """

    def __init__(self, words: Sequence[str], counts: Sequence[int]):
        self.words = tuple(words)
        self.counts = tuple(counts)
        self._ids = {word: index for index, word in enumerate(self.words)}

    @classmethod
    def build(
        cls, counts: Counter[str], min_count: int, *, captions: int = 0, max_words: int = 0
    ) -> "Vocabulary":
        """Build a vocabulary: the most frequent words first, ties in the order of the words.

        Args:
            counts: How often each word was seen.
            min_count: Words that were seen less often become `<unk>`.
            captions: Number of captions counted; it becomes the count of `<start>` and `<end>`.
            max_words: Most words beside the special ones; 0 for no limit.
        """
        kept = sorted(
            ((word, n) for word, n in counts.items() if n >= min_count and word not in SPECIAL),
            key=lambda item: (-item[1], item[0]),
        )[: max_words or None]
        unknown = sum(counts.values()) - sum(n for _, n in kept)
        return cls(
            [*SPECIAL, *(word for word, _ in kept)],
            [0, captions, captions, unknown, *(n for _, n in kept)],
        )

    def __len__(self) -> int:
        return len(self.words)

    @property
    def empty(self) -> bool:
        """Whether there are no words but the special ones."""
        return len(self.words) == len(SPECIAL)

    def encode(self, caption: str) -> list[int]:
        """Return the ids of a caption: `<start>`, its words (`<unk>` for others), `<end>`.

        Args:
            caption: As annotated.
        """
        return self.encode_words(tokenise(caption))

    def encode_words(self, words: Iterable[str]) -> list[int]:
        """Return the ids of a caption that is split into words; `encode` says which.

        Args:
            words: As `text.tokenise` returns them.
        """
        return [START, *map(self._ids.get, words, itertools.repeat(UNK)), END]

    def count_unknown(self, words: Iterable[str]) -> int:
        """Return how many of the words become `<unk>`.

        Args:
            words: As `text.tokenise` returns them.
        """
        return sum(word not in self._ids for word in words)

    def words_of(self, ids: Iterable[int]) -> list[str]:
        """Return the words up to `<end>`, without `<start>` and `<pad>`.

        Args:
            ids: Of a caption.

        Raises:
            IndexError: An id is outside the vocabulary.
        """
        words: list[str] = []
        for index in ids:
            if index == END:
                break
            if index not in (PAD, START):
                words.append(self.words[index])
        return words

    def decode(self, ids: Iterable[int]) -> str:
        """Return the caption as people write it: `dog 's` becomes `dog's`.

        Args:
            ids: Of a caption.

        Raises:
            IndexError: An id is outside the vocabulary.
        """
        return detokenise(self.words_of(ids))

    @property
    def fingerprint(self) -> str:
        """sha256 of the words in order: what the ids mean, whatever the counts."""
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()

    def to_tsv(self) -> str:
        """Return the content of vocabulary.tsv: lines `word<TAB>count`, in the order of the ids."""
        return "".join(f"{word}\t{n}\n" for word, n in zip(self.words, self.counts, strict=True))

    @classmethod
    def from_tsv(cls, text: str, where: str) -> "Vocabulary":
        """Return the vocabulary that `to_tsv` wrote.

        Args:
            text: The file's content.
            where: The file's name, for messages.

        Raises:
            UserError: A line is no `word<TAB>count`, a word comes twice, the special words are not
                the first four, or there is no other word.
        """
        words: list[str] = []
        counts: list[int] = []
        # Not splitlines(): a word may contain a character that it takes for the end of a line.
        for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
            word, _, count = line.partition("\t")
            if not word or not (count.isascii() and count.isdigit()):
                raise UserError(f"{where}:{number}: expected `word<TAB>count`, found {line[:60]!r}")
            words.append(word)
            counts.append(int(count))
        if tuple(words[:4]) != SPECIAL:
            raise UserError(f"{where}: the first four words must be {' '.join(SPECIAL)}")
        if len(words) == len(SPECIAL):
            raise UserError(
                f"{where}: there is no word but the special ones, so that every caption would be"
                " empty; build the records again with a lower --min_word_count, or give another"
                " vocabulary"
            )
        if len(set(words)) != len(words):
            word = next(word for word, n in Counter(words).items() if n > 1)
            raise UserError(f"{where}: the word {word!r} comes twice")
        return cls(words, counts)
