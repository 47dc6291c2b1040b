"""Whether attention looks at what a word names: on drawn scenes, where positions are known.

At a colour or shape word, the place of highest attention is a hit when it lies in the box, grown by
half a grid cell on each side, of a thing that the word's phrase names: for "two large red circles",
of any large red circle. Chance is the share of all places that would be hits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scenes.captions import PLURALS
from scenes.world import COLOURS, SIDE, SIZES, Kind, Scene, Thing

_SHAPES = {shape: shape for shape in PLURALS} | {plural: shape for shape, plural in PLURALS.items()}


class Named(NamedTuple):
    """A colour or shape word of a caption, and the kind of thing that its phrase names."""

    place: int  # in the caption
    kind: Kind


@dataclass
class Pointing:
    """What colour and shape words look at, caption by caption."""

    words: int = 0  # whose phrase names a thing of the scene
    hits: int = 0
    chance: float = 0.0  # summed over the words
    absent: int = 0  # words whose phrase names nothing that is there: not counted above

    def add(self, words: Sequence[str], attention: np.ndarray, scene: Scene) -> None:
        """Count a caption.

        Call arguments:
            words: T. attention: [T, grid height, grid width], of the step that said each word.
        """
        for named in named_in(words):
            things = [thing for thing in scene.things if thing.kind == named.kind]
            if not things:
                self.absent += 1
                continue
            inside = covered(things, attention.shape[1:])
            self.words += 1
            self.hits += bool(inside.ravel()[attention[named.place].argmax()])
            self.chance += float(inside.mean())

    def as_json(self) -> dict[str, float]:
        """`words`, `score` and `chance` as shares of them, `absent` words."""
        count = max(1, self.words)
        return {
            "words": self.words,
            "score": self.hits / count,
            "chance": self.chance / count,
            "absent": self.absent,
        }


def named_in(words: Sequence[str]) -> list[Named]:
    """The colour and shape words of all phrases "SIZE COLOUR SHAPE" in a caption."""
    found = []
    for place in range(len(words) - 2):
        size, colour, shape = words[place : place + 3]
        if size in SIZES and colour in COLOURS and shape in _SHAPES:
            kind = (size, colour, _SHAPES[shape])
            found += [Named(place + 1, kind), Named(place + 2, kind)]
    return found


def covered(things: Sequence[Thing], grid: tuple[int, int]) -> np.ndarray:
    """The cells of a grid over the picture whose centres lie in a grown box: [height, width]."""
    height, width = (SIDE / cells for cells in grid)  # of a cell, in pixels
    y = (np.arange(grid[0])[:, None] + 0.5) * height
    x = (np.arange(grid[1])[None] + 0.5) * width
    inside = np.zeros(grid, bool)
    for thing in things:
        x0, y0, x1, y1 = thing.box
        inside |= (
            (x >= x0 - width / 2)
            & (x <= x1 + width / 2)
            & (y >= y0 - height / 2)
            & (y <= y1 + height / 2)
        )
    return inside


def described(found: Mapping[str, float]) -> str:
    """`Pointing.as_json`'s result as it is printed."""
    return (
        f"pointing: {found['score']:.0%} of {found['words']:,} colour and shape words look at what"
        f" they name (chance {found['chance']:.0%}; {found['absent']:,} other words name nothing"
        " that is there)"
    )
