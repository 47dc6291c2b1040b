"""The language of captions: a tag such as `en`, `zh` or `pt-br`, which chooses the metrics."""

import re
from collections.abc import Mapping

import regex

from cli.errors import UsageError

ENGLISH = "en"

_TAG = re.compile(r"[a-z]{2,3}(-[a-z0-9]{1,8})*")
_LETTERS, _LATIN_LETTERS = regex.compile(r"\p{L}"), regex.compile(r"\p{Latin}")


def checked(tag: str) -> str:
    """Return a language tag in lower case.

    Args:
        tag: What the user gave as --language.

    Raises:
        UsageError: It does not look like a language tag.
    """
    if not _TAG.fullmatch(tag.lower()):
        raise UsageError(
            f"--language={tag}: expected the tag of a language, two or three letters of ISO 639 and"
            " perhaps a region, such as en, zh, ar, ru or pt-BR"
        )
    return tag.lower()


def is_english(tag: str) -> bool:
    """Return whether a checked tag is one of English: `en`, `en-us`."""
    return tag.split("-")[0] in (ENGLISH, "eng")


def hint(texts: Mapping[str, int]) -> str:
    """Return what to give when captions whose language nobody said are plainly not English.

    Args:
        texts: Caption, or word of captions -> how often it occurs.

    Returns:
        A line; "" where most letters are Latin.
    """
    letters = latin = 0
    for text, count in texts.items():
        n_letters = len(_LETTERS.findall(text))
        letters += count * n_letters
        latin += count * (n_letters if text.isascii() else len(_LATIN_LETTERS.findall(text)))
    if 2 * latin >= letters:
        return ""
    return (
        f"{1 - latin / letters:.0%} of the captions' letters are not Latin, and metrics are those"
        " of English unless you say otherwise: give --language=TAG, such as zh, ar or ru"
    )
