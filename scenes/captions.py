"""Five sentences about a scene, all of them true, that differ from each other."""

from random import Random

from scenes.world import Scene, Thing, pick, relation

NUMBERS = {1: "one", 2: "two", 3: "three"}
PLURALS = {
    "circle": "circles",
    "square": "squares",
    "triangle": "triangles",
    "cross": "crosses",
}
RELATION_WORDS = {
    "left of": "to the left of",
    "right of": "to the right of",
    "above": "above",
    "below": "below",
}
CAPTIONS_PER_IMAGE = 5

Group = tuple[Thing, ...]


def captions(scene: Scene) -> list[str]:
    """Five different captions, the same for the same scene.

    Between them they name every group, and how groups lie to each other. Large things are named
    before small ones, then the upper left first, so that what is to be learnt is what is seen, not
    an order by chance.
    """
    rng = Random(f"captions {scene.image_id}")
    groups = sorted(scene.groups(), key=lambda group: group[0].size != "large")
    return {1: _of_one, 2: _of_two, 3: _of_three}[len(groups)](rng, *groups)


def phrase(group: Group, article: bool = True) -> str:
    """The group's name: "a small red circle" ("one small red circle"), "two large blue squares"."""
    size, colour, shape = group[0].kind
    count = "a" if article and len(group) == 1 else NUMBERS[len(group)]
    return f"{count} {size} {colour} {shape if len(group) == 1 else PLURALS[shape]}"


def _of_one(rng: Random, group: Group) -> list[str]:
    name = phrase(group)
    return [
        name,
        f"there {_be(group)} {name}",
        f"a picture of {name}",
        f"the picture shows {name}",
        f"{phrase(group, article=False)} in the picture",
    ]


def _of_two(rng: Random, first: Group, second: Group) -> list[str]:
    a, b = phrase(first), phrase(second)
    return [
        _related(first, second),
        _related(first, second, verb=True),
        f"there {_be(first)} {_related(first, second)}",
        f"{a} and {b}",
        pick(rng, (f"a picture of {a} and {b}", f"the picture shows {a} and {b}")),
    ]


def _of_three(rng: Random, first: Group, second: Group, third: Group) -> list[str]:
    a, b, c = phrase(first), phrase(second), phrase(third)
    return [
        f"{a}, {b} and {c}",
        _related(first, second),
        _related(first, third),
        _related(second, third),
        pick(
            rng,
            (
                f"a picture of {a}, {b} and {c}",
                f"the picture shows {a}, {b} and {c}",
                f"{_related(first, second)} and {_place(first, third)}",
            ),
        ),
    ]


def _related(subject: Group, other: Group, verb: bool = False) -> str:
    """ "a small red circle [is] above two large blue squares"."""
    be = f" {_be(subject)}" if verb else ""
    return f"{phrase(subject)}{be} {_place(subject, other)}"


def _place(subject: Group, other: Group) -> str:
    """ "above two large blue squares": where `subject` lies."""
    said = relation(subject[0], other[0])
    return f"{RELATION_WORDS[said]} {phrase(other)}"


def _be(group: Group) -> str:
    return "is" if len(group) == 1 else "are"
