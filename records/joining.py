"""How words become a sentence: what stands between two words depends on these two words alone.

A rule is a pair of patterns: of the end of the word before, and of the beginning of the word after.
Each rule is one bit, so that a word is two integers and a join needs no more than `&`: graphs,
phones and browsers do the same from the integers of joins.tsv. The rules undo what
`records.text.tokenise` does, as NLTK's TreebankWordDetokenizer does for English.
"""

import functools
from collections.abc import Iterable, Sequence

import regex

from records.scripts import NO_SPACES

_ANY = ""
# Clitics attach to a word. After an apostrophe or another clitic stands a space where the tokeniser
# would not cut them apart again.
_LONG_CLITIC = r"(?:'ll|'re|'ve|n't)\Z"
_SHORT_CLITIC = r"'[smd]\Z"
# The pattern of the end is searched in the word before, that of the beginning matched at the start
# of the word after. The first rule is the only one that puts a character between the words.
_RULES = (
    (r"\p{Tibetan}\Z", r"\p{Tibetan}"),
    # \Z comes first: the pattern is then tried once, not at each mark of a long word.
    (rf"\Z(?<={NO_SPACES}\p{{M}}*)", NO_SPACES),
    (rf"\A(?!{_LONG_CLITIC}|{_SHORT_CLITIC}).*(?<!')\Z", _LONG_CLITIC),
    (rf"\A(?!{_SHORT_CLITIC}).*(?<!')\Z", _SHORT_CLITIC),
    # Two words that people write as one.
    (r"\bcan\Z", r"not\b"),
    (r"\b(?<!')d\Z", r"'ye\b"),
    (r"\b(?:gim|lem)\Z", r"me\b"),
    (r"\bgon\Z", r"na\b"),
    (r"\bgot\Z", r"ta\b"),
    (r"\bmore\Z", r"'n\b"),
    (r"\bwan\Z", r"na\Z"),
    (r"\A't\Z", r"(?:is|was)\b"),
    # Symbols and punctuation that stand close to the word after or before.
    (r"[\[({<#$]\Z", _ANY),
    (_ANY, r"[\])}>?!;%:,]"),
    (r"(?<!\.)\Z", r"\.(?!\.)"),
    (r"[\])}>]\Z", r"\."),
)
_PATTERNS = tuple(
    (1 << index, regex.compile(end, regex.DOTALL), regex.compile(begin))
    for index, (end, begin) in enumerate(_RULES)
)
# The bit of the rule that puts the mark between syllables of Tibetan where others put nothing.
TIBETAN = 1
TSHEG = "\u0f0b"


@functools.lru_cache(maxsize=1 << 16)
def bits(word: str) -> tuple[int, int]:
    """Return the rules whose patterns a word matches, as two integers of less than 31 bits.

    Args:
        word: As `records.text.tokenise` returns it.

    Returns:
        The rules that the word's end matches, and those that its beginning matches.
    """
    return (
        sum(bit for bit, end, _ in _PATTERNS if end.search(word)),
        sum(bit for bit, _, begin in _PATTERNS if begin.match(word)),
    )


def join(words: Sequence[str]) -> str:
    """Return words as a sentence: `["a", "dog", "'s", "bowl"]` -> `a dog's bowl`.

    Args:
        words: As `records.text.tokenise` returns them.
    """
    pieces: list[str] = []
    ends_before = 0
    for word in words:
        ends, begins = bits(word)
        if pieces:
            shared = ends_before & begins
            pieces.append(" " if not shared else TSHEG if shared == TIBETAN else "")
        pieces.append(word)
        ends_before = ends
    return "".join(pieces)


def to_tsv(words: Iterable[str]) -> str:
    """Return the content of joins.tsv: lines `ends<TAB>begins`, the `bits` of each word.

    Args:
        words: A vocabulary's, in the order of their ids.
    """
    return "".join(f"{ends}\t{begins}\n" for ends, begins in map(bits, words))
