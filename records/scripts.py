"""Rules for text that is not ASCII, so that the tokeniser meets spaces where words end.

- Chinese, Japanese, Thai, Lao, Khmer and Burmese are written without spaces. Each character, with
  the marks on it, becomes a word. Tibetan is cut at the mark between its syllables.
- Punctuation of every script becomes a space, by its Unicode category. An apostrophe, a hyphen or a
  middle dot inside a word stays, in one spelling.
- Symbols and emoji are words; an emoji keeps all of its parts.
- Letters keep their marks. Only Arabic's vowel signs and its tatweel are left out, because most
  people do not write them.
"""

import unicodedata
from collections.abc import Sequence

import regex

# Control characters; they end a word.
CONTROLS = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), " ")
# One spelling for what people type as apostrophe, quotes in a word, or hyphen. NFKC has a sign of
# its own for fractions. Invisible spaces and the mark of lost characters are spaces.
_SPELLINGS = CONTROLS | str.maketrans(
    dict.fromkeys("\u00b4\u02bc\u05f3\u2019\u2032\uff07", "'")
    | dict.fromkeys("\u02ba\u05f4", '"')
    | dict.fromkeys("\u05be\u2010\u2011", "-")
    | {"\u2044": "/", "\u200b": " ", "\ufffd": " "}
)
# NFKC takes the vowel am of Thai and Lao apart, and lower case leaves a dot on the Turkish i.
_WHOLE = {"\u0e4d\u0e32": "\u0e33", "\u0ecd\u0eb2": "\u0eb3", "i\u0307": "i"}
# What is left out: Arabic's tatweel and vowel signs, Armenian's marks inside a word, the frame of a
# keycap emoji, and what nobody sees. Joiners stay between characters that are not Latin, tags in
# flags.
_JOINED = r"[\p{L}\p{M}\p{S}--[\x00-\x7f]]"
_LEFT_OUT = regex.compile(
    r"[\u0640\u064b-\u0652\u0670\u055b\u055c\u055e]|\ufe0f?\u20e3"
    r"|[\p{Cf}--[\u200c\u200d\U000e0020-\U000e007f]]"
    rf"|[\u200c\u200d]+(?:(?<!{_JOINED}.)|(?!{_JOINED}))",
    regex.V1,
)
# An opening quote is an apostrophe only between letters, as in Uzbek.
_OPENING_QUOTE = regex.compile(r"(?<=\p{L})[\u02bb\u2018\u201b](?=\p{L})")
# Quotes inside a word, and the letters that stand for them until the words are split.
_APOSTROPHE = regex.compile(r"(?<=\p{L}\p{M}*)'(?=(?![a-z])\p{L})")
_GERSHAYIM = regex.compile(r'(?<=\p{Hebrew})"(?=\p{Hebrew})')
_STAND_INS = {"\u02bc": "'", "\u02ba": '"'}
NO_SPACES = (
    r"[\p{Han}\p{Bopomofo}\p{scx=Hiragana}\p{scx=Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
)
_SYMBOL = r"[[\p{S}\p{ExtPict}--\p{RI}]--[\x00-\x7f]]"
# Flags are pairs of letters; \X would count all of them again at each.
_WORD_OF_ITS_OWN = regex.compile(
    rf"\p{{RI}}{{1,2}}|(?=[[\p{{L}}\p{{N}}]&&{NO_SPACES}]|{_SYMBOL})\X\p{{M}}*", regex.V1
)
# U+00B7, the middle dot, is inside words of Catalan.
_PUNCTUATION = regex.compile(r"[\p{P}--[\x00-\x7f\u00b7]]|(?<!\w)\u00b7|\u00b7(?!\w)", regex.V1)
_MEANING = regex.compile(r"[\p{L}\p{N}\p{S}\p{ExtPict}]")


def spaced(caption: str) -> str:
    """Return a caption in lower case with spaces between its words, ASCII's punctuation left.

    Args:
        caption: As annotated.
    """
    # The acute accent must be an apostrophe before NFKC, the slash of fractions comes from it.
    text = unicodedata.normalize("NFKC", caption.translate(_SPELLINGS)).lower()
    text = text.translate(_SPELLINGS)
    for apart, together in _WHOLE.items():
        text = text.replace(apart, together)
    text = _OPENING_QUOTE.sub("'", _LEFT_OUT.sub("", text))
    for pattern, stand_in in zip((_APOSTROPHE, _GERSHAYIM), _STAND_INS, strict=True):
        text = pattern.sub(stand_in, text)
    text = _PUNCTUATION.sub(" ", _WORD_OF_ITS_OWN.sub(r" \g<0> ", text))
    return " ".join(text.split())


def cleaned(words: Sequence[str]) -> list[str]:
    """Return the words of a `spaced` caption without the stand-ins and without what is no word.

    Args:
        words: As the tokeniser of English returns them.
    """
    kept = []
    for word in words:
        if not word.isascii():
            for stand_in, quote in _STAND_INS.items():
                word = word.replace(stand_in, quote)
            word = word.strip(".-") if _MEANING.search(word) else ""
        if word:
            kept.append(word)
    return kept
