"""Words <-> ids: built from the training split, kept beside the records and in every run."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

from cli.errors import UserError
from records.text import detokenise, tokenise

PAD, START, END, UNK = 0, 1, 2, 3
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")


class Vocabulary:
    """An ordered list of words; a word's place is its id. The first four are special.

    Attributes:
        words: V strings, `<pad> <start> <end> <unk>` first.
        counts: V ints, how often each was seen in the training captions.
    """

    def __init__(self, words: Sequence[str], counts: Sequence[int]):
        self.words = tuple(words)
        self.counts = tuple(counts)
        self._ids = {word: index for index, word in enumerate(self.words)}

    @classmethod
    def build(cls, counts: Counter[str], min_count: int, captions: int = 0) -> "Vocabulary":
        """All words seen `min_count` times or more, the most frequent first, ties by the word.

        Call arguments:
            counts: how often each word was seen.
            captions: number of captions counted, kept as the count of `<start>` and `<end>`.
        """
        kept = sorted(
            ((word, n) for word, n in counts.items() if n >= min_count and word not in SPECIAL),
            key=lambda item: (-item[1], item[0]),
        )
        unknown = sum(counts.values()) - sum(n for _, n in kept)
        return cls(
            [*SPECIAL, *(word for word, _ in kept)],
            [0, captions, captions, unknown, *(n for _, n in kept)],
        )

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, caption: str) -> list[int]:
        """Ids of a caption as annotated: `<start>`, its words (`<unk>` for unknown), `<end>`."""
        return self.encode_words(tokenise(caption))

    def encode_words(self, words: Iterable[str]) -> list[int]:
        """Ids of a caption whose words are known, as `encode` gives them."""
        return [START, *map(self._ids.get, words, itertools.repeat(UNK)), END]

    def words_of(self, ids: Iterable[int]) -> list[str]:
        """The words up to `<end>`, without `<start>` and `<pad>`.

        Raises:
            IndexError: an id outside the vocabulary.
        """
        words = []
        for index in ids:
            if index == END:
                break
            if index not in (PAD, START):
                words.append(self.words[index])
        return words

    def decode(self, ids: Iterable[int]) -> str:
        """The caption of ids as people write it: `dog 's` becomes `dog's`."""
        return detokenise(self.words_of(ids))

    @property
    def fingerprint(self) -> str:
        """sha256 of the words in order: what ids mean, whatever the counts."""
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()

    def to_tsv(self) -> str:
        """The content of vocabulary.tsv: `word<TAB>count` lines, line order is the id."""
        return "".join(f"{w}\t{n}\n" for w, n in zip(self.words, self.counts, strict=True))

    @classmethod
    def from_tsv(cls, text: str, where: str) -> "Vocabulary":
        """The inverse of `to_tsv`.

        Call arguments:
            where: the file's name, for messages.

        Raises:
            UserError: a line is no `word<TAB>count`, a word comes twice, or the special words
                are not the first four.
        """
        words, counts = [], []
        # Not splitlines(): a word may hold a character that it takes for a line's end.
        for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
            word, _, count = line.partition("\t")
            if not word or not (count.isascii() and count.isdigit()):
                raise UserError(f"{where}:{number}: expected `word<TAB>count`, found {line[:60]!r}")
            words.append(word)
            counts.append(int(count))
        if tuple(words[:4]) != SPECIAL:
            raise UserError(f"{where}: the first four words must be {' '.join(SPECIAL)}")
        if len(set(words)) != len(words):
            word = next(w for w, n in Counter(words).items() if n > 1)
            raise UserError(f"{where}: the word {word!r} comes twice")
        return cls(words, counts)
