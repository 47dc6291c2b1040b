"""The world of the scenes: what can lie in a picture, and where. Nothing is drawn or said here.

A scene is a pure function of (n_images, seed): only `random.Random.random()`, whose stream Python
fixes, decides, so the truth of a data set can be had again anywhere, without its files.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from cli.errors import UsageError

VERSION = 2  # raised by hand whenever the same (n_images, seed) gives other scenes, bytes or words
DEFAULT_IMAGES = 3000
DEFAULT_SEED = 1
MIN_IMAGES = 10

SIDE = 64  # pixels, of the square picture
SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = ("red", "green", "blue", "yellow", "purple", "black")
SIZES = ("small", "large")
SPLITS = ("train", "val", "test")
# What stands first is the left or the upper one; each relation with its inverse.
INVERSE = {"left of": "right of", "above": "below", "right of": "left of", "below": "above"}

_SIDES = {"small": (12, 14), "large": (24, 26)}  # pixels, from and to, both included
_RIM = 2  # pixels left free at the picture's edge
_GAP = 3  # pixels left free between two things
_CELLS = 3  # the coarse position is a cell of a 3 x 3 grid
# How many things of one kind, each kind once; a pattern is drawn as often as it stands here.
_PATTERNS = (
    ((1,),) * 5 + ((2,),) * 3 + ((3,),) * 2 + ((1, 1),) * 6 + ((2, 1),) * 2 + ((1, 1, 1),) * 2
)

Kind = tuple[str, str, str]  # size, colour, shape
_Option = TypeVar("_Option")


@dataclass(frozen=True)
class Thing:
    """One object: its words, and its box (x0, y0, x1, y1) in pixels, x1 and y1 not included."""

    shape: str
    colour: str
    size: str
    box: tuple[int, int, int, int]

    @property
    def kind(self) -> Kind:
        return self.size, self.colour, self.shape

    @property
    def centre2(self) -> tuple[int, int]:
        """Twice the centre (x, y): whole numbers, so that comparisons are exact."""
        x0, y0, x1, y1 = self.box
        return x0 + x1, y0 + y1


@dataclass(frozen=True)
class Scene:
    """One picture: 1 to 3 things. Any two of them stand in exactly one relation."""

    image_id: int
    split: str
    things: tuple[Thing, ...]

    def groups(self) -> list[tuple[Thing, ...]]:
        """The things by kind, from the upper left to the lower right.

        Of two groups the first is left of or above the other, all of it: the order is that of
        x + y, and a relation holds only where one axis outweighs the other.
        """
        by_kind: dict[Kind, list[Thing]] = {}
        for thing in sorted(self.things, key=lambda thing: sum(thing.centre2)):
            by_kind.setdefault(thing.kind, []).append(thing)
        return [tuple(group) for group in by_kind.values()]


def relation(subject: Thing, other: Thing) -> str | None:
    """How `subject` lies to `other`: "left of", "right of", "above", "below".

    None where it is not clear: the distance of the centres along one axis must be at least one and
    a half times that along the other, and at least a small thing's side.
    """
    (x, y), (other_x, other_y) = subject.centre2, other.centre2
    across, down = other_x - x, other_y - y
    longer, shorter = max(abs(across), abs(down)), min(abs(across), abs(down))
    if 2 * longer < 3 * shorter or longer < 2 * _SIDES["small"][0]:
        return None
    if longer == abs(across):
        return "left of" if across > 0 else "right of"
    return "above" if down > 0 else "below"


def layout(things: Sequence[Thing]) -> tuple[tuple[str, str, str, int, int], ...]:
    """What no two splits share: the multiset of (size, colour, shape, column, row).

    Column and row are those of the thing's centre on a 3 x 3 grid over the picture.
    """
    cells = []
    for thing in things:
        x, y = (centre * _CELLS // (2 * SIDE) for centre in thing.centre2)
        cells.append((*thing.kind, x, y))
    return tuple(sorted(cells))


def scenes(n_images: int, seed: int) -> list[Scene]:
    """The scenes in the order of their ids, 1 to `n_images`: 80% train, then 10% val, 10% test.

    Raises UsageError for fewer than `MIN_IMAGES` images, of which no three splits can be made.
    """
    if n_images < MIN_IMAGES:
        raise UsageError(f"scenes: {n_images} images asked for, at least {MIN_IMAGES} are needed")
    room = {"val": n_images // 10, "test": n_images // 10}
    room["train"] = n_images - sum(room.values())
    drawn: dict[str, list[tuple[Thing, ...]]] = {split: [] for split in SPLITS}
    rng = Random(f"scenes {seed}")
    while any(len(drawn[split]) < room[split] for split in SPLITS):
        things = _things(rng)
        # The layout itself says where it belongs, so that no two splits can ever share one.
        split = _split_of(layout(things), seed)
        if len(drawn[split]) < room[split]:
            drawn[split].append(things)
    in_order = [(split, things) for split in SPLITS for things in drawn[split]]
    return [Scene(number, split, things) for number, (split, things) in enumerate(in_order, 1)]


def truth(n_images: int, seed: int) -> dict[int, Scene]:
    """The scenes by image id: what is true of every image of that data set."""
    return {scene.image_id: scene for scene in scenes(n_images, seed)}


def pick(rng: Random, options: Sequence[_Option]) -> _Option:
    """One of `options`, from `random()` alone: `choice` may change between versions of Python."""
    return options[int(rng.random() * len(options))]


def _split_of(place: tuple, seed: int) -> str:
    digest = hashlib.sha256(f"{seed} {place}".encode()).digest()
    return ("val", "test")[digest[0] % 2] if digest[1] % 5 == 0 else "train"


def _things(rng: Random) -> tuple[Thing, ...]:
    """Things of a pattern, placed; where they find no room, others are drawn."""
    while True:
        kinds: list[Kind] = []
        for count in pick(rng, _PATTERNS):
            kinds += [_new_kind(rng, kinds)] * count
        for _ in range(30):
            if placed := _placed(rng, kinds):
                return placed


def _new_kind(rng: Random, taken: Sequence[Kind]) -> Kind:
    while True:
        kind = pick(rng, SIZES), pick(rng, COLOURS), pick(rng, SHAPES)
        if kind not in taken:
            return kind


def _placed(rng: Random, kinds: Sequence[Kind]) -> tuple[Thing, ...] | None:
    """One try to place them: None where two lie too close, or how they lie is not clear."""
    placed: list[Thing] = []
    for size, colour, shape in kinds:
        least, most = _SIDES[size]
        side = least + int(rng.random() * (most - least + 1))
        span = SIDE - 2 * _RIM - side + 1
        x, y = (_RIM + int(rng.random() * span) for _ in range(2))
        thing = Thing(shape, colour, size, (x, y, x + side, y + side))
        if any(_too_close(thing, other) or not relation(thing, other) for other in placed):
            return None
        placed.append(thing)
    return tuple(placed) if _groups_agree(placed) else None


def _too_close(thing: Thing, other: Thing) -> bool:
    """Whether less than the gap is free between two boxes."""
    (x0, y0, x1, y1), (other_x0, other_y0, other_x1, other_y1) = thing.box, other.box
    beside = x1 + _GAP <= other_x0 or other_x1 + _GAP <= x0
    return not (beside or y1 + _GAP <= other_y0 or other_y1 + _GAP <= y0)


def _groups_agree(things: Sequence[Thing]) -> bool:
    """Whether all things of one kind lie alike to all of another: a group is spoken of as one."""
    seen: dict[tuple[Kind, Kind], str | None] = {}
    for subject in things:
        for other in things:
            if subject.kind != other.kind:
                said = relation(subject, other)
                if seen.setdefault((subject.kind, other.kind), said) != said:
                    return False
    return True
