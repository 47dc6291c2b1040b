"""The gallery of the report: which captions it shows, and what it shows of each."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evaluation.attention import NO_ATTENTION, AttendedCaption
from evaluation.report import cards
from metrics.names import CIDER
from metrics.official import Scores

SHOWN = 6  # Images in each part of the gallery.
NO_PICTURES = (
    "No pictures: the records hold features only. Records built with --store=both have them."
)


class Selection(NamedTuple):
    """The ids of the images that the report shows, `SHOWN` or fewer of each kind."""

    best: list[int]
    worst: list[int]
    random: list[int]

    @classmethod
    def of(cls, scores: Scores, seed: int = 0) -> "Selection":
        """Select the best and worst by CIDEr, and some of the others at random.

        Args:
            scores: The scores of all images.
            seed: Chooses the images that are shown at random.

        Returns:
            The selection; no image is in it twice.
        """
        ranked = sorted(scores.images, key=lambda image: (-scores.images[image][CIDER], image))
        best, others = ranked[:SHOWN], ranked[SHOWN:]
        worst, others = others[-SHOWN:][::-1], others[:-SHOWN]
        return cls(best, worst, random.Random(seed).sample(others, min(SHOWN, len(others))))

    def image_ids(self) -> list[int]:
        """Return all ids of the selection."""
        return [*self.best, *self.worst, *self.random]


@dataclass(frozen=True)
class Gallery:
    """The selected images with everything that the report shows of them.

    Attributes:
        selection: Which images are shown.
        captions: Image id -> the caption that the run gave it, as written.
        references: Image id -> the captions that people wrote.
        scores: Image id -> metric -> score.
        attended: Image id -> its picture and where each word looked. An image that is missing here
            is shown without both.
    """

    selection: Selection
    captions: Mapping[int, str]
    references: Mapping[int, Sequence[str]]
    scores: Mapping[int, Mapping[str, float]]
    attended: Mapping[int, AttendedCaption]

    @property
    def has_pictures(self) -> bool:
        """Whether any image can be shown; records of features alone hold none."""
        return any(caption.encoded for caption in self.attended.values())

    def html(self) -> Iterator[str]:
        """Yield each part of the gallery as HTML, and a note of what it cannot show."""
        if not self.has_pictures:
            yield f'<p class="soft">{NO_PICTURES}</p>'
        if any(caption.attention is None for caption in self.attended.values()):
            yield f'<p class="soft">{NO_ATTENTION[0].upper()}{NO_ATTENTION[1:]}.</p>'
        for heading, image_ids in (
            ("Best captions", self.selection.best),
            ("Worst captions", self.selection.worst),
            ("Captions at random", self.selection.random),
        ):
            if image_ids:
                shown = "".join(map(self._card, image_ids))
                yield f'<h2>{heading}</h2><div class="cards">{shown}</div>'

    def _card(self, image_id: int) -> str:
        return cards.card(
            self.captions[image_id],
            self.references[image_id],
            self.scores[image_id],
            self.attended.get(image_id),
        )
