"""The world of the scenes: which things an image can show, and where.

The scenes are a pure function of (n_images, seed). All choices come from `random.Random.random()`,
whose stream Python never changes. So the truth about a data set can be computed again anywhere,
without its files.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from cli.errors import UsageError
from records.schema import SPLITS

# Raise by hand whenever the same (n_images, seed) gives other scenes, bytes or captions.
VERSION = 2
DEFAULT_IMAGES = 3000
DEFAULT_SEED = 1
MIN_IMAGES = 10

SIDE = 64  # Of the square image, in pixels.
SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = ("red", "green", "blue", "yellow", "purple", "black")
SIZES = ("small", "large")

_SIDES = {"small": (12, 14), "large": (24, 26)}  # Pixels, from and to, both included.
_RIM = 2  # Pixels left free at the edge of the image.
_GAP = 3  # Pixels left free between two things.
_CELLS = 3  # A coarse position is a cell of a 3 x 3 grid.
# (number of things of one kind, of another kind, ...). Repeated patterns are drawn more often.
_PATTERNS = (
    ((1,),) * 5 + ((2,),) * 3 + ((3,),) * 2 + ((1, 1),) * 6 + ((2, 1),) * 2 + ((1, 1, 1),) * 2
)

Kind = tuple[str, str, str]  # Size, colour, shape.
Layout = tuple[tuple[str, str, str, int, int], ...]
_Option = TypeVar("_Option")


@dataclass(frozen=True)
class Thing:
    """One object in an image.

    Attributes:
        shape: One of `SHAPES`.
        colour: One of `COLOURS`.
        size: One of `SIZES`.
        box: (x0, y0, x1, y1) in pixels; x1 and y1 are not included.
    """

    shape: str
    colour: str
    size: str
    box: tuple[int, int, int, int]

    @property
    def kind(self) -> Kind:
        """Size, colour and shape."""
        return self.size, self.colour, self.shape

    @property
    def centre2(self) -> tuple[int, int]:
        """Twice the centre (x, y) in pixels: integers compare exactly."""
        x0, y0, x1, y1 = self.box
        return x0 + x1, y0 + y1


@dataclass(frozen=True)
class Scene:
    """One image: 1 to 3 things. Between any two of them exactly one relation holds."""

    image_id: int
    split: str
    things: tuple[Thing, ...]

    def groups(self) -> list[tuple[Thing, ...]]:
        """Return the things by kind, from the upper left to the lower right.

        All of the first group is left of or above all of the second: groups are ordered by x + y,
        and a relation holds only where the distance along one axis is clearly larger.
        """
        by_kind: dict[Kind, list[Thing]] = {}
        for thing in sorted(self.things, key=lambda thing: sum(thing.centre2)):
            by_kind.setdefault(thing.kind, []).append(thing)
        return [tuple(group) for group in by_kind.values()]


def relation_between(subject: Thing, other: Thing) -> str | None:
    """Return where `subject` is relative to `other`: "left of", "right of", "above", "below".

    None means that it is not clear. It is clear when the distance of the centres along one axis is
    at least one and a half times that along the other, and at least a small thing's side.
    """
    (x, y), (other_x, other_y) = subject.centre2, other.centre2
    across, down = other_x - x, other_y - y
    longer, shorter = max(abs(across), abs(down)), min(abs(across), abs(down))
    if 2 * longer < 3 * shorter or longer < 2 * _SIDES["small"][0]:
        return None
    if longer == abs(across):
        return "left of" if across > 0 else "right of"
    return "above" if down > 0 else "below"


def layout(things: Sequence[Thing]) -> Layout:
    """Return the sorted (size, colour, shape, column, row) of each thing.

    Column and row locate the thing's centre on a 3 x 3 grid over the image. No two splits share a
    layout.
    """
    cells = []
    for thing in things:
        x, y = (centre * _CELLS // (2 * SIDE) for centre in thing.centre2)
        cells.append((*thing.kind, x, y))
    return tuple(sorted(cells))


def scenes(n_images: int, seed: int) -> list[Scene]:
    """Make the scenes in the order of their ids, 1 to `n_images`: 80% train, 10% val, 10% test.

    Args:
        n_images: Number of scenes.
        seed: Chooses the scenes.

    Raises:
        UsageError: Fewer than `MIN_IMAGES` images cannot be divided into three splits.
    """
    if n_images < MIN_IMAGES:
        raise UsageError(f"scenes: expected at least {MIN_IMAGES} images, found {n_images}")
    room = {"val": n_images // 10, "test": n_images // 10}
    room["train"] = n_images - sum(room.values())
    drawn: dict[str, list[tuple[Thing, ...]]] = {split: [] for split in SPLITS}
    rng = Random(f"scenes {seed}")
    while any(len(drawn[split]) < room[split] for split in SPLITS):
        things = _things(rng)
        # The split follows from the layout alone, so no two splits can share a layout.
        split = _split_of(layout(things), seed)
        if len(drawn[split]) < room[split]:
            drawn[split].append(things)
    in_order = [(split, things) for split in SPLITS for things in drawn[split]]
    return [Scene(number, split, things) for number, (split, things) in enumerate(in_order, 1)]


def truth(n_images: int, seed: int) -> dict[int, Scene]:
    """Return the scenes of (n_images, seed) by image id."""
    return {scene.image_id: scene for scene in scenes(n_images, seed)}


def pick(rng: Random, options: Sequence[_Option]) -> _Option:
    """Return one of `options`. It uses `random()` only: Python may change `choice`."""
    return options[int(rng.random() * len(options))]


def _split_of(layout: Layout, seed: int) -> str:
    digest = hashlib.sha256(f"{seed} {layout}".encode()).digest()
    return ("val", "test")[digest[0] % 2] if digest[1] % 5 == 0 else "train"


def _things(rng: Random) -> tuple[Thing, ...]:
    """Draw the things of one scene; when they do not fit, draw others."""
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
    """Try once to place things of these kinds.

    None when two are too close, or a relation is not clear.
    """
    placed: list[Thing] = []
    for size, colour, shape in kinds:
        least, most = _SIDES[size]
        side = least + int(rng.random() * (most - least + 1))
        span = SIDE - 2 * _RIM - side + 1
        x, y = (_RIM + int(rng.random() * span) for _ in range(2))
        thing = Thing(shape, colour, size, (x, y, x + side, y + side))
        if any(_too_close(thing, other) or not relation_between(thing, other) for other in placed):
            return None
        placed.append(thing)
    return tuple(placed) if _groups_agree(placed) else None


def _too_close(thing: Thing, other: Thing) -> bool:
    """Return whether fewer than `_GAP` pixels are free between two boxes."""
    (x0, y0, x1, y1), (other_x0, other_y0, other_x1, other_y1) = thing.box, other.box
    beside = x1 + _GAP <= other_x0 or other_x1 + _GAP <= x0
    return not (beside or y1 + _GAP <= other_y0 or other_y1 + _GAP <= y0)


def _groups_agree(things: Sequence[Thing]) -> bool:
    """Return whether one relation holds between all things of one kind and all of another.

    Captions speak of the things of one kind as one group.
    """
    seen: dict[tuple[Kind, Kind], str | None] = {}
    for subject in things:
        for other in things:
            if subject.kind != other.kind:
                relation = relation_between(subject, other)
                if seen.setdefault((subject.kind, other.kind), relation) != relation:
                    return False
    return True
