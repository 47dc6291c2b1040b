"""Captions as words: the one tokeniser of the build, the evaluation and serving.

Tokens of English follow the official COCO evaluation (Stanford PTBTokenizer -lowerCase, without
punctuation). NLTK's Treebank tokenizer gives them without Java and without a corpus. What other
languages need is in `records.scripts`.
"""

import re
from collections.abc import Sequence

from nltk.tokenize import TreebankWordTokenizer

from records import scripts
from records.joining import join

# The list of pycocoevalcap/tokenizer/ptbtokenizer.py, with brackets as NLTK writes them.
_PUNCTUATION = frozenset("'`(){}[].?!,:-;\"") | {"''", "``", "--", "..."}
# Full stops that Treebank leaves on a word: it splits off only the last one of the caption. The
# official tokenizer splits off all but those of abbreviations, which are short (st., mr.).
_FULL_STOPS_OF_WORD = re.compile(r"^\.+(?=\w)|(?<=\w{4})[.-]+$")
# Treebank splits these captions at spaces only, except for the words below. Splitting them here is
# forty times faster, and most captions are of this kind.
_PLAIN_CAPTION = re.compile(r"[a-z0-9 ]*\.?")
_WORDS_TREEBANK_SPLITS = frozenset(("cannot", "gimme", "gonna", "gotta", "lemme", "wanna"))
_TOKENIZER = TreebankWordTokenizer()


def tokenise(caption: str) -> list[str]:
    """Return the words of a caption: NFKC, lower case, tokens without punctuation.

    Args:
        caption: As annotated.
    """
    if not caption.isascii():
        return scripts.cleaned(_treebank_words(scripts.spaced(caption)))
    text = " ".join(caption.lower().split())
    if _PLAIN_CAPTION.fullmatch(text):
        words = text.removesuffix(".").split()
        if _WORDS_TREEBANK_SPLITS.isdisjoint(words):
            return words
    return _treebank_words(" ".join(text.translate(scripts.CONTROLS).split()))


def _treebank_words(text: str) -> list[str]:
    words = (_FULL_STOPS_OF_WORD.sub("", word) for word in _TOKENIZER.tokenize(text))
    return [word for word in words if word not in _PUNCTUATION]


def detokenise(words: Sequence[str]) -> str:
    """Return words as people write them: `["a", "dog", "'s", "bowl"]` -> `a dog's bowl`.

    Args:
        words: As `tokenise` returns them.
    """
    return join(words)
