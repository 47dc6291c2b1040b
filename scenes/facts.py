"""Check a caption against its scene: how many of its claims are true.

The grammar is that of `scenes.captions`. Nothing outside it can be true:

- A phrase names count, size, colour and shape, in this order and in agreement: "a small red
  circle", "two large blue squares". It is one claim. "a" claims at least one such thing; "one",
  "two" and "three" claim exactly this number. Naming a kind again claims further things of it: the
  second "a small red circle" of a caption is true only if there are two.
- A relation between two phrases is one more claim: "P to the left of Q", "P is above Q", "P above Q
  and to the right of R" (where P is also right of R). It is true only if both phrases are true and
  the relation holds between the things: for any of them after "a", for all of them after a number.
- All other words are broken. Each run of them is one false claim: half a phrase ("a red",
  "a circle", "a shape"), unknown words, or a relation, "and", "is" or opening in a wrong place. A
  caption without any claim is one false claim.

So vagueness, repetition and silence cannot raise the share of true claims.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from scenes import grammar
from scenes.world import Kind, Scene, Thing, relation_between


@dataclass(frozen=True)
class Phrase:
    """The claim that there are `count` things of a kind.

    Attributes:
        count: Number of things.
        exact: Whether there must be exactly `count`, not at least.
        kind: Size, colour and shape.
        named: How many of the kind the caption has named so far, this phrase included.
    """

    count: int
    exact: bool
    kind: Kind
    named: int

    def holds(self, scene: Scene) -> bool:
        """Return whether the claim is true of a scene."""
        count = len(self.things(scene))
        return count >= self.named and (count == self.count or not self.exact)

    def things(self, scene: Scene) -> list[Thing]:
        """Return the things of a scene that the phrase names."""
        return [thing for thing in scene.things if thing.kind == self.kind]


@dataclass(frozen=True)
class Related:
    """The claim that a relation ("left of", ...) holds from `subject` to `other`."""

    subject: Phrase
    relation: str
    other: Phrase

    def holds(self, scene: Scene) -> bool:
        """Return whether the claim is true of a scene."""
        if not (self.subject.holds(scene) and self.other.holds(scene)):
            return False
        of_subject, of_other = (all if p.exact else any for p in (self.subject, self.other))
        return of_subject(
            of_other(
                relation_between(thing, other) == self.relation
                for other in self.other.things(scene)
            )
            for thing in self.subject.things(scene)
        )


@dataclass(frozen=True)
class Broken:
    """Words that make no whole claim. They count as a false one."""

    words: tuple[str, ...]

    def holds(self, scene: Scene) -> bool:
        """Return False."""
        return False


Claim = Phrase | Related | Broken


def claims(caption: str) -> list[Claim]:
    """Return the claims of any string, at least one, in the order in which they are completed."""
    made: list[Claim] = []
    named: Counter[Kind] = Counter()
    # Of "P above Q and above R", the second relation has the subject P, the head. Without the "and"
    # it has the subject Q, the last phrase.
    last: Phrase | None = None
    head: Phrase | None = None
    # A subject and its relation, until the other phrase comes.
    pending: tuple[Phrase, str] | None = None
    before = "edge"
    for mark in grammar.marks(caption):
        if mark.sort == "broken":
            made.append(Broken(mark.words))
        elif mark.sort == "relation":
            subject = head if before == "and" else last
            assert subject  # grammar.marks keeps a relation only after a phrase.
            pending = subject, mark.relation
        elif mark.phrase:
            count, exact, kind = mark.phrase
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
    """Return (true claims, claims) of a caption of the scene; there is at least one claim."""
    made = claims(caption)
    return sum(claim.holds(scene) for claim in made), len(made)


def check_all(captions: Mapping[int, str], truth: Mapping[int, Scene]) -> tuple[int, int]:
    """Return (true claims, claims) over all captions.

    Args:
        captions: Image id -> caption.
        truth: Image id -> scene.

    Raises:
        KeyError: `truth` lacks an image id.
    """
    checked = [check(caption, truth[image_id]) for image_id, caption in captions.items()]
    return sum(true for true, _ in checked), sum(total for _, total in checked)
