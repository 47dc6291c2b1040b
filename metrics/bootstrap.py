"""95% intervals of scores, and a paired test of two systems, by resampling the images.

Each of `RESAMPLES` resamples draws as many images as there are, with replacement (Koehn 2004). BLEU
and METEOR of a resample are computed from the summed counts of the drawn images, and the other
metrics are means over images, all as they are officially. So the interval is that of the score
that is printed.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from metrics import meteor
from metrics.names import BLEU, METEOR
from metrics.official import Scores

RESAMPLES = 1000
_DRAWN_AT_ONCE = 4_000_000  # Drawn images held in memory at once, 8 bytes each.
_TINY, _SMALL = 1e-15, 1e-9  # The official BLEU adds these to avoid a division by 0.


class Interval(NamedTuple):
    """The 2.5% and 97.5% percentiles of the resamples, or the score where that lies beyond."""

    low: float
    high: float


class Difference(NamedTuple):
    """How a system's score differs from a baseline's on the same images.

    Attributes:
        difference: The system's score less the baseline's.
        low: Lower end of the difference's 95% interval.
        high: Upper end of that interval.
        p: Two-sided p-value: twice the share of resamples in which the difference is 0 or has the
            other sign. No value between 0 and 1 / RESAMPLES can be told from 0. Like an exact
            paired test of n images, it is never less than 2 / 2^n.
    """

    difference: float
    low: float
    high: float
    p: float


def intervals(scores: Scores, seed: int = 0) -> dict[str, Interval]:
    """Return the 95% interval of each metric.

    Args:
        scores: The scores of one system.
        seed: Chooses the resamples: the same scores and seed give the same intervals.

    Returns:
        Metric -> its interval; nothing for a single image, which tells nothing about others.
    """
    if len(scores.images) == 1:
        return {}
    (resampled,) = _resampled([scores], seed)
    return {name: _interval(values, scores.metrics[name]) for name, values in resampled.items()}


def paired_test(scores: Scores, baseline: Scores, seed: int = 0) -> dict[str, Difference]:
    """Compare two systems; each resample draws the same images for both.

    Args:
        scores: The scores of the system.
        baseline: The scores of the system that it is compared with, for the same images in the
            same order.
        seed: Chooses the resamples.

    Returns:
        Metric -> how the system differs, for each metric that both systems have.

    Raises:
        ValueError: The images differ, or their order.
    """
    if list(scores.images) != list(baseline.images):
        raise ValueError("a paired test needs the same images in the same order")
    each_once = np.ones((1, len(scores.images)))
    of_system, of_baseline = (_metrics_of(s, each_once) for s in (scores, baseline))
    least = 2.0 ** (1 - len(scores.images))
    if least < 1 / RESAMPLES:
        least = 0.0
    system_resampled, baseline_resampled = _resampled([scores, baseline], seed)
    differences = {}
    for name, values in system_resampled.items():
        if name not in baseline_resampled:
            continue
        resampled = values - baseline_resampled[name]
        tail = min(np.mean(resampled <= 0), np.mean(resampled >= 0))
        difference = float(of_system[name][0] - of_baseline[name][0])
        low, high = _interval(resampled, difference)
        p = min(1.0, max(least, 2 * float(tail)))
        differences[name] = Difference(difference, low, high, p)
    return differences


def ratio_of_sums(
    numerators: np.ndarray, denominators: np.ndarray, seed: int = 0
) -> tuple[float | None, Interval | None]:
    """Return the quotient of two sums over images, with its 95% interval.

    Args:
        numerators: [images] float, one of each image.
        denominators: [images] float, in the same order.
        seed: Chooses the resamples.

    Returns:
        The quotient and its interval. Both are None where the divisor is 0 or less, or where more
        than 2.5% of the resamples say so: such a quotient means nothing. A single image has no
        interval.
    """
    pairs = np.array([numerators, denominators], float).T  # [images, 2]
    above, below = pairs.sum(0)
    if below <= 0:
        return None, None
    if len(pairs) == 1:
        return float(above / below), None
    sums = np.concatenate([weights @ pairs for weights in _weights(len(pairs), seed)])
    divisible = sums[sums[:, 1] > 0]
    if len(divisible) < 0.975 * len(sums):
        return None, None
    ratio = float(above / below)
    return ratio, _interval(divisible[:, 0] / divisible[:, 1], ratio)


def _interval(resampled: np.ndarray, value: float) -> Interval:
    """Return the interval of a value that was resampled; it holds the value."""
    low, high = map(float, np.percentile(resampled, [2.5, 97.5]))
    # With few images, or images that are all alike, rounding and BLEU's bias can leave it beside.
    return Interval(min(low, value), max(high, value))


def _resampled(systems: Sequence[Scores], seed: int) -> list[dict[str, np.ndarray]]:
    """Return metric -> [RESAMPLES] for each system; all systems share the drawn images."""
    portions = [
        [_metrics_of(scores, weights) for scores in systems]
        for weights in _weights(len(systems[0].images), seed)
    ]
    return [
        {
            name: np.concatenate([portion[k][name] for portion in portions])
            for name in portions[0][k]
        }
        for k in range(len(systems))
    ]


def _weights(images: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each resample draws each image: [resamples, images] float64, in portions."""
    rng = np.random.default_rng(seed)
    rows = max(1, _DRAWN_AT_ONCE // images)
    for start in range(0, RESAMPLES, rows):
        count = min(rows, RESAMPLES - start)
        # Row r counts in the bins from r * images on, so that one bincount serves all rows.
        bins = rng.integers(images, size=(count, images)) + images * np.arange(count)[:, None]
        draws = np.bincount(bins.ravel(), minlength=count * images)
        yield draws.reshape(count, images).astype(float)


def _metrics_of(scores: Scores, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return metric -> [resamples], counting each image by its weights [resamples, images]."""
    values = np.array([list(image.values()) for image in scores.images.values()])  # [images, M]
    means = weights @ values / weights.shape[1]
    by_metric = dict(zip(scores.metrics, means.T, strict=True))
    if scores.meteor_statistics is not None:
        by_metric[METEOR] = meteor.score_of(weights @ scores.meteor_statistics)
    return by_metric | _bleu(weights @ scores.bleu_counts)


def _bleu(totals: np.ndarray) -> dict[str, np.ndarray]:
    """Return the official corpus BLEU of summed counts [resamples, 10]."""
    orders = len(BLEU)
    words, closest = totals[:, 0], totals[:, 1]
    ngrams, matched = totals[:, 2 : 2 + orders], totals[:, 2 + orders :]
    precisions = np.cumprod((matched + _TINY) / (ngrams + _SMALL), 1)
    ratio = (words + _TINY) / (closest + _SMALL)
    brevity = np.exp(np.minimum(0.0, 1 - 1 / ratio))
    return {name: precisions[:, n] ** (1 / (n + 1)) * brevity for n, name in enumerate(BLEU)}
