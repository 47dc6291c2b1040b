"""Whether words need the places that they look at: attention judged without labels.

For each word of a caption the tenth of the places that it looks at most is hidden from it, and its
log-probability is computed again; so it is with as many places at random (`model/hiding.py`).
Faithfulness is the quotient of the two mean drops: 1 where it does not matter which are hidden.

Beside it stands the quotient for the same places while the word's attention is even. It is above 1
where the places hold more of what the word needs than others do. What the quotient of the
attention itself has beyond it comes from the weights.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from metrics import bootstrap
from model.hiding import Drops, hidden_places


class FaithfulnessStatistics:
    """The drops of a sample of captions."""

    def __init__(self) -> None:
        self._sums: list[list[float]] = []  # of each image, over its words: those of `Drops`
        self._words = 0

    def add(self, drops: Drops) -> None:
        """Count the caption of an image.

        Args:
            drops: Of its T words; T may be 0.
        """
        self._sums.append([float(np.sum(x, dtype=np.float64)) for x in drops])
        self._words += len(drops.most)

    def as_json(self, locations: int) -> dict[str, Any]:
        """Return the statistics for metrics.json.

        Args:
            locations: The number of places that a word can look at.

        Returns:
            `hidden`, the number of places that are hidden, of `places`; then `drop` and
            `random_drop`, the mean drops in nats a word, their quotient `ratio` and its 95%
            `interval`; `even` has the same four of even attention. A quotient that means nothing
            is None.
        """
        most, random, even_most, even_random = np.array(self._sums, float).T
        return {
            "hidden": hidden_places(locations),
            "places": locations,
            **self._compared(most, random),
            "even": self._compared(even_most, even_random),
        }

    def _compared(self, drops: np.ndarray, random: np.ndarray) -> dict[str, Any]:
        ratio, interval = bootstrap.ratio_of_sums(drops, random)
        words = max(1, self._words)
        return {
            "drop": drops.sum() / words,
            "random_drop": random.sum() / words,
            "ratio": ratio,
            "interval": interval,
        }


def described(measured: Mapping[str, Any]) -> str:
    """Return the line that is printed of the statistics, as in metrics.json."""
    return (
        f"faithfulness {ratio_text(measured)}: without the {measured['hidden']} of"
        f" {measured['places']} places that it looks at most a word loses"
        f" {measured['drop']:.3f} nats, without as many at random {measured['random_drop']:.3f};"
        f" without the same places under even attention {ratio_text(measured['even'])}"
    )


def ratio_text(compared: Mapping[str, Any]) -> str:
    """Return a quotient and its 95% interval for people: `2.41 (95% 2.20 to 2.63)`."""
    if compared["ratio"] is None:
        return "unknown: hiding places at random costs nothing"
    text = f"{compared['ratio']:.2f}"
    if compared["interval"] is None:
        return text
    low, high = compared["interval"]
    return f"{text} (95% {low:.2f} to {high:.2f})"
