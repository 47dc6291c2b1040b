"""Whether a caption is true of its scene: every whole claim it makes is true or false.

The grammar is that of `scenes.captions`, and nothing outside it scores:

- A phrase names count, size, colour and shape, in this order and in agreement: "a small red
  circle", "two large blue squares". It is one claim. "a" claims at least one such thing; "one",
  "two", "three" claim exactly so many. The same kind named again claims further things of it: the
  second "a small red circle" of a caption is true only if there are two.
- A relation between two phrases is one claim more, beside the phrases' own: "P to the left of Q",
  "P is above Q", "P above Q and to the right of R" (of P too). It is true only if both phrases
  are, and the things so related: any of them after "a", all of them after a number.
- Whatever else is said is broken, and each run of such words is one false claim: half a phrase
  ("a red", "a circle", "a shape"), unknown words, a relation, "and", "is" or an opening that
  nothing rightly precedes or follows. A caption without any claim is one false claim.

So the share of true claims cannot be raised by vagueness, by repetition, or by saying nothing.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scenes.captions import NUMBERS, PLURALS, RELATION_WORDS
from scenes.world import COLOURS, SIZES, Kind, Scene, Thing, relation


@dataclass(frozen=True)
class Phrase:
    """There are `count` things of a kind: exactly so many, or at least.

    `named` is how many of the kind the caption has named so far, this phrase included.
    """

    count: int
    exact: bool
    kind: Kind
    named: int

    def holds(self, scene: Scene) -> bool:
        found = len(self.things(scene))
        return found >= self.named and (found == self.count or not self.exact)

    def things(self, scene: Scene) -> list[Thing]:
        return [thing for thing in scene.things if thing.kind == self.kind]


@dataclass(frozen=True)
class Related:
    """The subject lies `said` ("left of", ...) the other."""

    subject: Phrase
    said: str
    other: Phrase

    def holds(self, scene: Scene) -> bool:
        if not (self.subject.holds(scene) and self.other.holds(scene)):
            return False
        of_subject, of_other = (all if p.exact else any for p in (self.subject, self.other))
        return of_subject(
            of_other(relation(thing, to) == self.said for to in self.other.things(scene))
            for thing in self.subject.things(scene)
        )


@dataclass(frozen=True)
class Broken:
    """Words that make no whole claim."""

    words: tuple[str, ...]

    def holds(self, scene: Scene) -> bool:
        return False


Claim = Phrase | Related | Broken


def claims(caption: str) -> list[Claim]:
    """The claims of any string, at least one, in the order in which they are completed."""
    made: list[Claim] = []
    named: Counter[Kind] = Counter()
    last = head = None  # the phrase that "above Q" speaks of, and the one that "and above Q" does
    pending = None  # that phrase and the relation, until its second phrase comes
    before = "edge"
    for mark in _mended(_marks(re.findall(r"[^\s.,;:!?]+", caption.lower()))):
        if mark.sort == "broken":
            made.append(Broken(mark.words))
        elif mark.sort == "relation":
            pending = (head if before == "and" else last), mark.meaning
        elif mark.sort == "phrase":
            count, exact, kind = mark.meaning
            named[kind] += count
            last = Phrase(count, exact, kind, named[kind])
            made.append(last)
            if pending:
                made.append(Related(*pending, last))
            else:
                head = last
            pending = None
        before = mark.sort
    return made or [Broken(())]


def check(caption: str, scene: Scene) -> tuple[int, int]:
    """(true claims, claims) of a caption of the scene; there is always at least one claim."""
    made = claims(caption)
    return sum(claim.holds(scene) for claim in made), len(made)


def check_all(captions: Mapping[int, str], truth: Mapping[int, Scene]) -> tuple[int, int]:
    """(true claims, claims) of one caption an image, by image id.

    Raises KeyError for an image id that `truth` does not have.
    """
    checked = [check(caption, truth[image_id]) for image_id, caption in captions.items()]
    return sum(true for true, _ in checked), sum(total for _, total in checked)


@dataclass(frozen=True)
class _Mark:
    """A run of words: its sort, and for phrases and relations what they mean."""

    sort: str  # phrase, relation, verb, and, opening, closing; unknown, then broken
    words: tuple[str, ...]
    meaning: tuple | str | None = None


_SET_WORDS = {
    ("there", "is"): ("opening", None),
    ("there", "are"): ("opening", None),
    ("a", "picture", "of"): ("opening", None),
    ("the", "picture", "shows"): ("opening", None),
    ("in", "the", "picture"): ("closing", None),
    ("is",): ("verb", None),
    ("are",): ("verb", None),
    ("and",): ("and", None),
    **{tuple(words.split()): ("relation", said) for said, words in RELATION_WORDS.items()},
}
_COUNTS = {"a": (1, False), **{word: (count, True) for count, word in NUMBERS.items()}}
_SHAPES = {(shape, False): shape for shape in PLURALS} | {
    (plural, True): shape for shape, plural in PLURALS.items()
}


def _marks(words: Sequence[str]) -> list[_Mark]:
    """The words cut into marks; a word that starts nothing known is a mark by itself."""
    marks, at = [], 0
    while at < len(words):
        mark = _mark(tuple(words[at : at + 4]))
        marks.append(mark)
        at += len(mark.words)
    return marks


def _mark(ahead: tuple[str, ...]) -> _Mark:
    """The mark that the next words, at most four, start with."""
    if len(ahead) == 4:
        count, size, colour, noun = ahead
        number, exact = _COUNTS.get(count, (0, False))
        shape = _SHAPES.get((noun, number > 1))
        if number and size in SIZES and colour in COLOURS and shape:
            return _Mark("phrase", ahead, (number, exact, (size, colour, shape)))
    for length in (4, 3, 2, 1):
        if ahead[:length] in _SET_WORDS:
            sort, meaning = _SET_WORDS[ahead[:length]]
            return _Mark(sort, ahead[:length], meaning)
    return _Mark("unknown", ahead[:1])


# Which sorts may stand before and after a mark; "edge" is the caption's start or end.
_NEIGHBOURS = {
    "relation": ({"phrase", "verb", "and"}, {"phrase"}),
    "verb": ({"phrase"}, {"relation"}),
    "and": ({"phrase", "closing"}, {"phrase", "relation", "opening"}),
    "opening": ({"edge", "phrase", "and", "closing"}, {"phrase"}),
    "closing": ({"phrase"}, {"edge", "phrase", "and", "opening"}),
}


def _mended(marks: Sequence[_Mark]) -> list[_Mark]:
    """The marks with each run of those that do not fit where they stand made one, "broken".

    So in what comes back a relation always has a phrase right after it, and one to be said of.
    """
    mended: list[_Mark] = []
    for at, mark in enumerate(marks):
        before = mended[-1].sort if mended else "edge"
        after = marks[at + 1].sort if at + 1 < len(marks) else "edge"
        if _fits(before, mark.sort, after):
            mended.append(mark)
        elif before == "broken":
            mended[-1] = _Mark("broken", mended[-1].words + mark.words)
        else:
            mended.append(_Mark("broken", mark.words))
    return mended


def _fits(before: str, sort: str, after: str) -> bool:
    """Whether a mark of this sort may stand between those two."""
    if sort in ("phrase", "unknown"):
        return sort == "phrase"
    may_precede, may_follow = _NEIGHBOURS[sort]
    return before in may_precede and after in may_follow
