"""The charts of the report: training curves and caption lengths."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from artifacts.run_folder import RunFolder
from evaluation.report import charts
from metrics.names import CIDER, HEADINGS
from metrics.official import Scores

_LONGEST = 30  # Words that the histogram reaches at least, where a text is so long.
_DRAWN = 0.99  # It reaches further where more texts than the others are longer.


class _LogLine(NamedTuple):
    """One logged line of a run: its kind is "train" or "val"."""

    kind: str
    step: float
    values: Mapping[str, Any]


def training(run: RunFolder) -> str:
    """Return the training curves of a run as HTML.

    Args:
        run: The run, whose logged scalars are drawn. Lines that a kill cut short are left out.

    Returns:
        The charts under a heading; an empty string when there is nothing to draw.
    """
    lines = _read_log(Path(run.metrics))

    def points(kind: str, name: str, factor: float = 1.0) -> list[tuple[float, float]]:
        return [
            (line.step, factor * line.values[name])
            for line in lines
            if line.kind == kind and isinstance(line.values.get(name), int | float)
        ]

    cider = HEADINGS[CIDER]
    perplexity = {
        "training": points("train", "perplexity"),
        "validation": points("val", "perplexity"),
    }
    entropy = {"entropy": points("train", "attention_entropy")}
    drawn = [
        charts.curves("Perplexity", perplexity, "step", logarithmic=True),
        charts.curves(f"{cider}, validation", {cider: points("val", CIDER, 100)}, "step"),
        charts.curves("Attention entropy in training, nats", entropy, "step"),
    ]
    if not any(drawn):
        return ""
    return f'<h2>Training</h2><div class="side">{"".join(drawn)}</div>'


def _read_log(path: Path) -> list[_LogLine]:
    lines: list[_LogLine] = []
    if not path.is_file():
        return lines
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            values = json.loads(text)
            lines.append(_LogLine(values["kind"], float(values["step"]), values))
        except (ValueError, KeyError, TypeError):  # A kill cut this line short.
            continue
    return lines


def lengths(scores: Scores) -> str:
    """Return a histogram of the lengths of captions and references as HTML.

    Args:
        scores: The scores, with the captions and references.

    Returns:
        The chart. Its last bar counts the few texts that are longer, too.
    """
    counts = {
        "captions": Counter(len(texts[0].split()) for texts in scores.hypotheses.values()),
        "references": Counter(
            len(text.split()) for texts in scores.references.values() for text in texts
        ),
    }
    every = sorted(length for counter in counts.values() for length in counter.elements())
    longest = max(_LONGEST, every[int(_DRAWN * (len(every) - 1))])
    shares: dict[str, dict[int, float]] = {name: {} for name in counts}
    for name, counter in counts.items():
        for length, count in counter.items():
            bar = min(length, longest)
            shares[name][bar] = shares[name].get(bar, 0.0) + count / counter.total()
    unit = f"words; {longest}: {longest} or more" if every[-1] > longest else "words"
    return charts.histogram("Caption lengths", shares, unit)
