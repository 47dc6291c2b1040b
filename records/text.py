"""Captions as words: the one tokeniser of the build, the evaluation and serving.

Tokens follow the official COCO evaluation (Stanford PTBTokenizer -lowerCase, without punctuation).
NLTK's Treebank tokenizer gives them without Java and without a corpus.
"""

import re
import unicodedata
from collections.abc import Sequence

from nltk.tokenize import TreebankWordTokenizer
from nltk.tokenize.treebank import TreebankWordDetokenizer

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
_DETOKENIZER = TreebankWordDetokenizer()


def tokenise(caption: str) -> list[str]:
    """Return the words of a caption: NFKC, lower case, Treebank tokens without punctuation.

    Args:
        caption: As annotated.
    """
    text = " ".join(unicodedata.normalize("NFKC", caption).lower().split())
    if _PLAIN_CAPTION.fullmatch(text):
        words = text.removesuffix(".").split()
        if _WORDS_TREEBANK_SPLITS.isdisjoint(words):
            return words
    return _treebank_words(text)


def _treebank_words(text: str) -> list[str]:
    words = (_FULL_STOPS_OF_WORD.sub("", word) for word in _TOKENIZER.tokenize(text))
    return [word for word in words if word not in _PUNCTUATION]


def detokenise(words: Sequence[str]) -> str:
    """Return words as people write them: `["a", "dog", "'s", "bowl"]` -> `a dog's bowl`.

    Args:
        words: As `tokenise` returns them.
    """
    return _DETOKENIZER.detokenize(list(words))
