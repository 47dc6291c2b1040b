"""How far a run is."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from metrics.names import CIDER
from trainer.validation import Score


@dataclasses.dataclass
class Position:
    """How far a run is: the note that a checkpoint keeps beside weights and optimizer.

    Attributes:
        step: Training steps done.
        best: `epoch` and `step` of the best weights, and where they were scored their `CIDEr` and
            `cross_entropy`; None before the first validation.
        without_better: Epochs since the best one.
        scored: The step of the last validation.
    """

    step: int = 0
    best: dict[str, Any] | None = None
    without_better: int = 0
    scored: int = 0

    @classmethod
    def from_note(cls, note: Mapping[str, Any]) -> "Position":
        """Read the note of a checkpoint.

        Args:
            note: What `note` returned for it.
        """
        scored = note.get("scored", note["step"])  # earlier versions did not note it
        return cls(note["step"], note["best"], note["without_better"], scored)

    def note(self) -> dict[str, Any]:
        """Return the note for a checkpoint."""
        return dataclasses.asdict(self)

    def end_epoch(self, epoch: int, score: Score | None) -> dict[str, Any] | None:
        """Count the validation after an epoch.

        The best weights have the highest CIDEr; of equal ones, the lowest cross-entropy.

        Args:
            epoch: The epoch, counted from 1.
            score: Its score; None: nothing to choose by, so that the last weights are the best.

        Returns:
            `best`, if the weights of this epoch are the best so far; else None.
        """
        better = score is None or self.best is None or _rank(score) > _best_rank(self.best)
        self.scored = self.step
        self.without_better += 1
        if not better:
            return None
        self.without_better = 0
        self.best = {"epoch": epoch, "step": self.step}
        if score:
            self.best |= {CIDER: score.cider, "cross_entropy": score.cross_entropy}
        return self.best


def _rank(score: Score) -> tuple[float, float]:
    return score.cider, -score.cross_entropy


def _best_rank(best: Mapping[str, Any]) -> tuple[float, float]:
    return best[CIDER], -best["cross_entropy"]
