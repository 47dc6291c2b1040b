"""Captions as words: one code for the build, the evaluation and serving.

Tokens follow the official COCO evaluation (Stanford PTBTokenizer -lowerCase, punctuation dropped),
by way of NLTK's Treebank tokenizer, which needs neither Java nor a corpus.
"""

import re
import unicodedata
from collections.abc import Sequence

from nltk.tokenize import TreebankWordTokenizer
from nltk.tokenize.treebank import TreebankWordDetokenizer

# The list of pycocoevalcap/tokenizer/ptbtokenizer.py, brackets as NLTK writes them.
_PUNCTUATION = frozenset("'`(){}[].?!,:-;\"") | {"''", "``", "--", "..."}
# A full stop stuck to its word: Treebank splits off the caption's last one only, and the official
# tokenizer all but those of abbreviations, which are short (st., mr.).
_STUCK = re.compile(r"^\.+(?=\w)|(?<=\w{4})[.-]+$")
# What Treebank splits at spaces only, but for these words: most captions, forty times faster.
_PLAIN = re.compile(r"[a-z0-9 ]*\.?")
_SPLIT_INSIDE = frozenset(("cannot", "gimme", "gonna", "gotta", "lemme", "wanna"))
_TOKENIZER = TreebankWordTokenizer()
_DETOKENIZER = TreebankWordDetokenizer()


def tokenise(caption: str) -> list[str]:
    """The words of a caption: NFKC, lower case, Treebank tokens without punctuation."""
    text = " ".join(unicodedata.normalize("NFKC", caption).lower().split())
    if _PLAIN.fullmatch(text):
        words = text.removesuffix(".").split()
        if _SPLIT_INSIDE.isdisjoint(words):
            return words
    return _treebank(text)


def _treebank(text: str) -> list[str]:
    words = (_STUCK.sub("", word) for word in _TOKENIZER.tokenize(text))
    return [word for word in words if word not in _PUNCTUATION]


def detokenise(words: Sequence[str]) -> str:
    """Words as people write them: `["a", "dog", "'s", "bowl"]` -> `a dog's bowl`."""
    return _DETOKENIZER.detokenize(list(words))
