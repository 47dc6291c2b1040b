"""The grammar of captions: cut a caption into phrases, relations and what connects them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scenes.captions import NUMBERS, PLURALS, RELATION_WORDS
from scenes.world import COLOURS, SIZES, Kind


class NamedThings(NamedTuple):
    """What a phrase means.

    Attributes:
        number: Number of things.
        exact: Whether there are exactly `number`, not at least.
        kind: Their size, colour and shape.
    """

    number: int
    exact: bool
    kind: Kind


@dataclass(frozen=True)
class Mark:
    """A run of words that belong together.

    Attributes:
        sort: "phrase", "relation", "verb", "and", "opening", "closing", "unknown" or "broken".
        words: The words.
        phrase: What a phrase means.
        relation: What a relation means.
    """

    sort: str
    words: tuple[str, ...]
    phrase: NamedThings | None = None
    relation: str = ""


_FIXED_MARKS = [
    Mark("opening", ("there", "is")),
    Mark("opening", ("there", "are")),
    Mark("opening", ("a", "picture", "of")),
    Mark("opening", ("the", "picture", "shows")),
    Mark("closing", ("in", "the", "picture")),
    Mark("verb", ("is",)),
    Mark("verb", ("are",)),
    Mark("and", ("and",)),
    *(
        Mark("relation", tuple(words.split()), relation=relation)
        for relation, words in RELATION_WORDS.items()
    ),
]
_BY_WORDS = {mark.words: mark for mark in _FIXED_MARKS}
_COUNTS = {"a": (1, False), **{word: (count, True) for count, word in NUMBERS.items()}}
_SHAPES = {(shape, False): shape for shape in PLURALS} | {
    (plural, True): shape for shape, plural in PLURALS.items()
}


def marks(caption: str) -> list[Mark]:
    """Cut any string into marks.

    Marks that do not fit where they are become "broken". So a relation always has a phrase before
    it, with perhaps a verb or "and" between, and a phrase after it.
    """
    return _join_broken(_cut(re.findall(r"[^\s.,;:!?]+", caption.lower())))


def _cut(words: Sequence[str]) -> list[Mark]:
    """Cut words into marks; an unknown word is a mark of its own."""
    marks: list[Mark] = []
    at = 0
    while at < len(words):
        mark = _first_mark(tuple(words[at : at + 4]))
        marks.append(mark)
        at += len(mark.words)
    return marks


def _first_mark(ahead: tuple[str, ...]) -> Mark:
    """Return the mark that the next words, at most four, start with."""
    if len(ahead) == 4:
        count, size, colour, noun = ahead
        number, exact = _COUNTS.get(count, (0, False))
        shape = _SHAPES.get((noun, number > 1))
        if number and size in SIZES and colour in COLOURS and shape:
            kind = (size, colour, shape)
            return Mark("phrase", ahead, phrase=NamedThings(number, exact, kind))
    for length in (4, 3, 2, 1):
        if ahead[:length] in _BY_WORDS:
            return _BY_WORDS[ahead[:length]]
    return Mark("unknown", ahead[:1])


# Sort of a mark -> the sorts that may be before it, and after it; "edge" is the caption's start or
# end.
_NEIGHBOURS = {
    "relation": ({"phrase", "verb", "and"}, {"phrase"}),
    "verb": ({"phrase"}, {"relation"}),
    "and": ({"phrase", "closing"}, {"phrase", "relation", "opening"}),
    "opening": ({"edge", "phrase", "and", "closing"}, {"phrase"}),
    "closing": ({"phrase"}, {"edge", "phrase", "and", "opening"}),
}


def _join_broken(marks: Sequence[Mark]) -> list[Mark]:
    """Join each run of marks that do not fit where they are into one mark, "broken"."""
    joined: list[Mark] = []
    for at, mark in enumerate(marks):
        before = joined[-1].sort if joined else "edge"
        after = marks[at + 1].sort if at + 1 < len(marks) else "edge"
        if _fits(before, mark.sort, after):
            joined.append(mark)
        elif before == "broken":
            joined[-1] = Mark("broken", joined[-1].words + mark.words)
        else:
            joined.append(Mark("broken", mark.words))
    return joined


def _fits(before: str, sort: str, after: str) -> bool:
    """Return whether a mark of this sort may be between those two."""
    if sort in ("phrase", "unknown"):
        return sort == "phrase"
    may_precede, may_follow = _NEIGHBOURS[sort]
    return before in may_precede and after in may_follow
