"""Scores as every command prints them and keeps them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from metrics import bootstrap, diversity
from metrics.bootstrap import Difference, Interval
from metrics.diversity import Diversity
from metrics.names import CIDER, HEADINGS
from metrics.official import Scores

_FEW_IMAGES = 50


class Summary(NamedTuple):
    """The scores of one system, their intervals, and what scores do not show."""

    scores: Scores
    intervals: dict[str, Interval]
    diversity: Diversity

    @classmethod
    def of(cls, scores: Scores) -> "Summary":
        """Compute the intervals and the diversity of the captions that were scored."""
        measured = diversity.measure(scores.hypotheses, scores.references, scores.language)
        return cls(scores, bootstrap.intervals(scores), measured)

    def as_json(self) -> dict[str, Any]:
        """Return the keys that metrics.json and the output of `evaluation.score` share.

        Returns:
            `language`, `metrics`, `intervals`, `unavailable`, `notes` and `diversity`.
        """
        return {
            "language": self.scores.language,
            "metrics": self.scores.metrics,
            "intervals": self.intervals,
            "unavailable": self.scores.unavailable,
            "notes": self.notes(),
            "diversity": dataclasses.asdict(self.diversity),
        }

    def as_text(self, stamp: str = "") -> str:
        """Return what commands print: the table, its notes, and the lines about the captions.

        Args:
            stamp: Ends the line of the scores.

        Returns:
            The lines, without a newline at the end.
        """
        printed = table(self.scores.metrics, self.scores.unavailable, stamp, self.intervals)
        return "\n".join([printed, *self.notes(), self.diversity.as_text()])

    def notes(self) -> list[str]:
        """Return a sentence for each reason to read the scores with care."""
        return few_images(len(self.scores.images))


def few_images(images: int) -> list[str]:
    """Return what a reader should know of scores of so few images; nothing where they are enough.

    Args:
        images: The number of images that were scored.

    Returns:
        A sentence, or none.
    """
    cider = HEADINGS[CIDER]
    weighs = f"{cider} weighs a word by how few of the scored images have it"
    if images == 1:
        return [f"1 image: {weighs}, so it is always 0 here; one image gives no interval"]
    if images < _FEW_IMAGES:
        return [f"{images} images are few: {weighs}, so it says little here, and so do intervals"]
    return []


class Comparison(NamedTuple):
    """The scores of a system beside those of a baseline for the same images, and a paired test."""

    scores: Scores
    baseline: Scores
    differences: dict[str, Difference]

    @classmethod
    def of(cls, scores: Scores, baseline: Scores) -> "Comparison":
        """Run the paired test."""
        return cls(scores, baseline, bootstrap.paired_test(scores, baseline))

    def as_json(self) -> dict[str, Any]:
        """Return the baseline's `metrics` and the `differences`, each with its interval and p."""
        return {
            "metrics": self.baseline.metrics,
            "differences": {name: d._asdict() for name, d in self.differences.items()},
        }

    def as_text(self) -> str:
        """Return the comparison as a table, scores x100 with one decimal."""
        rows: list[tuple[str, ...]] = [("", "this", "baseline", "difference", "95% interval", "p")]
        rows += [self._row(name, difference) for name, difference in self.differences.items()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in rows
        ]
        return "\n".join(lines)

    def _row(self, name: str, difference: Difference) -> tuple[str, ...]:
        interval = f"{100 * difference.low:+.1f} .. {100 * difference.high:+.1f}"
        return (
            HEADINGS[name],
            f"{100 * self.scores.metrics[name]:.1f}",
            f"{100 * self.baseline.metrics[name]:.1f}",
            f"{100 * difference.difference:+.1f}",
            interval if len(self.scores.images) > 1 else "-",
            f"{difference.p:.3f}" if difference.p else f"< {1 / bootstrap.RESAMPLES:g}",
        )


def table(
    metrics: Mapping[str, float],
    unavailable: Mapping[str, str] | None = None,
    stamp: str = "",
    intervals: Mapping[str, tuple[float, float]] | None = None,
) -> str:
    """Return corpus scores as a table, x100 with one decimal.

    Args:
        metrics: Metric -> its score.
        unavailable: Metric -> why it has no score; a line for each under the table.
        stamp: Ends the line of the scores.
        intervals: Metric -> the ends of its interval; two lines more.

    Returns:
        The lines, without a newline at the end.
    """
    rows: list[tuple[Mapping[str, float], str]] = [(metrics, stamp)]
    if intervals:
        rows.append(({name: ends[0] for name, ends in intervals.items()}, "95% from"))
        rows.append(({name: ends[1] for name, ends in intervals.items()}, "95% to"))
    lines = ["  ".join(HEADINGS.values())]
    for values, note in rows:
        cells = [
            (f"{100 * values[name]:.1f}" if name in values else "-").rjust(len(heading))
            for name, heading in HEADINGS.items()
        ]
        lines.append("  ".join([*cells, note]).rstrip())
    lines += [
        f"{HEADINGS[name]} unavailable: {reason}" for name, reason in (unavailable or {}).items()
    ]
    return "\n".join(lines)
