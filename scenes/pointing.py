"""The pointing game: whether attention looks at what a word names.

It needs scenes, where the positions of things are known. For each colour or shape word of a caption
the grid cell with the highest attention is a hit when its centre is in the box, grown by half a
cell on each side, of a thing that the word's phrase names. For "two large red circles" any large
red circle counts. Chance is the share of all cells that would be hits.
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

    place: int  # Of the word in the caption, from 0.
    kind: Kind


@dataclass
class Pointing:
    """Counts over captions of what colour and shape words look at.

    Attributes:
        words: Number of words whose phrase names a thing in the scene.
        hits: Number of them that look at such a thing.
        chance: Sum over them of the share of cells that would be hits.
        absent: Number of words whose phrase names nothing in the scene; `words` excludes them.
    """

    words: int = 0
    hits: int = 0
    chance: float = 0.0
    absent: int = 0

    def add(self, words: Sequence[str], attention: np.ndarray, scene: Scene) -> None:
        """Count a caption.

        Args:
            words: The T words of the caption.
            attention: [T, grid height, grid width] at each word.
            scene: The scene of the caption's image.
        """
        for named in named_in(words):
            things = [thing for thing in scene.things if thing.kind == named.kind]
            if not things:
                self.absent += 1
                continue
            height, width = attention.shape[1:]
            inside = covered(things, (height, width))
            self.words += 1
            self.hits += bool(inside.ravel()[attention[named.place].argmax()])
            self.chance += float(inside.mean())

    def as_json(self) -> dict[str, float]:
        """Return `words`, `score` and `chance` as shares of `words`, and `absent`."""
        count = max(1, self.words)
        return {
            "words": self.words,
            "score": self.hits / count,
            "chance": self.chance / count,
            "absent": self.absent,
        }


def named_in(words: Sequence[str]) -> list[Named]:
    """Return the colour and shape words of all phrases "SIZE COLOUR SHAPE" in a caption."""
    named = []
    for place in range(len(words) - 2):
        size, colour, shape = words[place : place + 3]
        if size in SIZES and colour in COLOURS and shape in _SHAPES:
            kind = (size, colour, _SHAPES[shape])
            named += [Named(place + 1, kind), Named(place + 2, kind)]
    return named


def covered(things: Sequence[Thing], grid: tuple[int, int]) -> np.ndarray:
    """Mark the grid cells whose centres are in the grown box of a thing.

    Args:
        things: The things.
        grid: (height, width) of the grid over the image.

    Returns:
        bool [height, width].
    """
    height, width = (SIDE / cells for cells in grid)  # Of a cell, in pixels.
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


def described(report: Mapping[str, float]) -> str:
    """Return the line to print for the result of `Pointing.as_json`."""
    return (
        f"pointing: {report['score']:.0%} of {report['words']:,} colour and shape words look at"
        f" what they name (chance {report['chance']:.0%}; {report['absent']:,} other words name"
        " nothing that is there)"
    )
