"""How far scores can be trusted: 95% intervals, and a paired test, by resampling the images.

The images are drawn anew with replacement, as many as there are, `RESAMPLES` times (Koehn 2004).
BLEU is computed from the counts of what was drawn; the other metrics are means over images. That
is what they are officially, but for METEOR, whose official score is of summed statistics: its
interval is of the mean over images instead.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from metrics.official import METRICS, ORDERS, Scores

RESAMPLES = 1000
_AT_ONCE = 4_000_000  # drawn images held in memory at once, 8 bytes each
_TINY, _SMALL = 1e-15, 1e-9  # of the official BLEU, against division by 0


class Interval(NamedTuple):
    """Of 95%: percentiles of the resamples."""

    low: float
    high: float


class Difference(NamedTuple):
    """How a system differs from another on the same images.

    Attributes:
        difference: system - baseline, of what was resampled.
        low, high: its 95% interval.
        p: two-sided: twice the share of resamples in which the difference is 0 or has changed its
            sign. Below 1 / RESAMPLES nothing can be told apart.
    """

    difference: float
    low: float
    high: float
    p: float


def intervals(scores: Scores, seed: int = 0) -> dict[str, Interval]:
    """Metric -> its interval; the same for the same scores and seed."""
    (drawn,) = _together([scores], seed)
    return {
        name: Interval(*map(float, np.percentile(values, [2.5, 97.5])))
        for name, values in drawn.items()
    }


def paired(scores: Scores, baseline: Scores, seed: int = 0) -> dict[str, Difference]:
    """Metric -> how `scores` differ from `baseline`, each resample drawing the same images of both.

    Call arguments:
        scores, baseline: of the same images in the same order.
    """
    if list(scores.images) != list(baseline.images):
        raise ValueError("a paired test needs the same images in the same order")
    everything = np.ones((1, len(scores.images)))
    here, there = (_statistics(one, everything) for one in (scores, baseline))
    ours, theirs = _together([scores, baseline], seed)
    found = {}
    for name in (name for name in ours if name in theirs):
        differences = ours[name] - theirs[name]
        tail = min(np.mean(differences <= 0), np.mean(differences >= 0))
        low, high = np.percentile(differences, [2.5, 97.5])
        difference = here[name][0] - there[name][0]
        found[name] = Difference(
            float(difference), float(low), float(high), float(min(1.0, 2 * tail))
        )
    return found


def _together(systems: Sequence[Scores], seed: int) -> list[dict[str, np.ndarray]]:
    """Of each system, metric -> [RESAMPLES]: its score on each resample, the same for all."""
    parts = [
        [_statistics(scores, weights) for scores in systems]
        for weights in _weights(len(systems[0].images), seed)
    ]
    return [
        {name: np.concatenate([part[k][name] for part in parts]) for name in parts[0][k]}
        for k in range(len(systems))
    ]


def _weights(images: int, seed: int) -> Iterator[np.ndarray]:
    """How often each image is drawn in each resample: [resamples, images] float64, in portions."""
    rng = np.random.default_rng(seed)
    rows = max(1, _AT_ONCE // images)
    for start in range(0, RESAMPLES, rows):
        count = min(rows, RESAMPLES - start)
        places = rng.integers(images, size=(count, images)) + images * np.arange(count)[:, None]
        drawn = np.bincount(places.ravel(), minlength=count * images)
        yield drawn.reshape(count, images).astype(float)


def _statistics(scores: Scores, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Metric -> [resamples], of images that count as often as `weights` [resamples, images] say."""
    values = np.array([list(image.values()) for image in scores.images.values()])  # [images, M]
    means = weights @ values / weights.shape[1]
    found = dict(zip(scores.metrics, means.T, strict=True))
    return found | _bleu(weights @ scores.bleu_counts)


def _bleu(totals: np.ndarray) -> dict[str, np.ndarray]:
    """The official corpus BLEU of summed counts [resamples, 10]."""
    words, closest = totals[:, 0], totals[:, 1]
    said, matched = totals[:, 2 : 2 + ORDERS], totals[:, 2 + ORDERS :]
    precisions = np.cumprod((matched + _TINY) / (said + _SMALL), 1)
    ratio = (words + _TINY) / (closest + _SMALL)
    brevity = np.exp(np.minimum(0.0, 1 - 1 / ratio))
    names = list(METRICS)[:ORDERS]
    return {name: precisions[:, n] ** (1 / (n + 1)) * brevity for n, name in enumerate(names)}
