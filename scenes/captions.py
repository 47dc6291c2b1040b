"""Caption a scene: five sentences, all true and all different."""

from collections.abc import Callable
from random import Random

from scenes.world import Scene, Thing, pick, relation_between

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
    """Return five different captions, always the same for the same scene.

    Together they name every group and every relation between groups. Large things come before small
    ones, then the upper left first: a model learns what it can see, not a random order.
    """
    rng = Random(f"captions {scene.image_id}")
    groups = sorted(scene.groups(), key=lambda group: group[0].size != "large")
    return _WRITERS[len(groups)](rng, *groups)


def phrase(group: Group, article: bool = True) -> str:
    """Return the group's name: "a small red circle", "two large blue squares".

    Args:
        group: Things of one kind.
        article: Whether a single thing is "a", not "one".
    """
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


# Number of groups -> the function that captions so many.
_WRITERS: dict[int, Callable[..., list[str]]] = {1: _of_one, 2: _of_two, 3: _of_three}


def _related(subject: Group, other: Group, verb: bool = False) -> str:
    """Return, for example, "a small red circle [is] above two large blue squares"."""
    be = f" {_be(subject)}" if verb else ""
    return f"{phrase(subject)}{be} {_place(subject, other)}"


def _place(subject: Group, other: Group) -> str:
    """Return where `subject` lies: "above two large blue squares"."""
    relation = relation_between(subject[0], other[0])
    assert relation  # Groups of a scene are never placed without one.
    return f"{RELATION_WORDS[relation]} {phrase(other)}"


def _be(group: Group) -> str:
    return "is" if len(group) == 1 else "are"
