"""Scores as every command prints them and keeps them."""

from typing import Any, NamedTuple

from metrics import bootstrap, diversity
from metrics import official as metrics
from metrics.bootstrap import Difference, Interval
from metrics.official import METRICS, Scores


class Summary(NamedTuple):
    """Scores, how far they can be trusted, and what they do not tell."""

    scores: Scores
    intervals: dict[str, Interval]
    diversity: dict[str, float]

    @classmethod
    def of(cls, scores: Scores) -> "Summary":
        described = diversity.describe(scores.captions, scores.references)
        return cls(scores, bootstrap.intervals(scores), described)

    def as_json(self) -> dict[str, Any]:
        """`metrics`, `intervals`, `unavailable`, `diversity`: what metrics.json holds."""
        return {
            "metrics": self.scores.metrics,
            "intervals": self.intervals,
            "unavailable": self.scores.unavailable,
            "diversity": self.diversity,
        }

    def printed(self, stamp: str = "") -> str:
        """The table of the metrics, notes, and the lines about the captions.

        Call arguments:
            stamp: ends the line of the scores.
        """
        lines = [metrics.table(self.scores, stamp, self.intervals)]
        if "METEOR" in self.scores.metrics:
            mean = _mean(self.scores, "METEOR")
            lines.append(f"METEOR's interval is of its mean over images, which is {100 * mean:.1f}")
        return "\n".join([*lines, diversity.lines(self.diversity)])


def compared(found: dict[str, Difference], scores: Scores, baseline: Scores) -> str:
    """A paired test as a printed table, x100 with one decimal."""
    rows = [("", "this", "baseline", "difference", "95% interval", "p")]
    for name, one in found.items():
        values = (scores.metrics[name], baseline.metrics[name])
        if name == "METEOR":  # whose difference is of the means, too
            values = (_mean(scores, name), _mean(baseline, name))
        p = f"< {1 / bootstrap.RESAMPLES:g}" if one.p == 0 else f"{one.p:.3f}"
        interval = f"{100 * one.low:+.1f} .. {100 * one.high:+.1f}"
        cells = (f"{100 * values[0]:.1f}", f"{100 * values[1]:.1f}", f"{100 * one.difference:+.1f}")
        mark = "*" if name == "METEOR" else ""
        rows.append((METRICS[name] + mark, *cells, interval, p))
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    if "METEOR" in found:
        lines.append("* of the mean over images")
    return "\n".join(lines)


def _mean(scores: Scores, name: str) -> float:
    return sum(image[name] for image in scores.images.values()) / len(scores.images)
