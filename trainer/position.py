"""How far a run is."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from metrics.names import BLEU_4, CIDER
from trainer.validation import Score

_KEPT = (CIDER, BLEU_4, "cross_entropy")


@dataclasses.dataclass
class Position:
    """How far a run is: the note that a checkpoint keeps beside weights and optimizer.

    Attributes:
        step: Training steps done.
        best: `epoch` and `step` of the best weights, and where they were scored their `CIDEr`,
            `Bleu_4` and `cross_entropy`; None before the first validation.
        without_better: Epochs since the best one.
        scored: The step of the last validation.
        watched: The state of what watches sampled captions; None where nothing does.
    """

    step: int = 0
    best: dict[str, Any] | None = None
    without_better: int = 0
    scored: int = 0
    watched: dict[str, Any] | None = None

    @classmethod
    def from_note(cls, note: Mapping[str, Any]) -> "Position":
        """Read the note of a checkpoint.

        Args:
            note: What `note` returned for it.
        """
        scored = note.get("scored", note["step"])  # earlier versions did not note it
        watched = note.get("watched")
        return cls(note["step"], note["best"], note["without_better"], scored, watched)

    def note(self) -> dict[str, Any]:
        """Return the note for a checkpoint."""
        note = dataclasses.asdict(self)
        if self.watched is None:
            del note["watched"]
        return note

    def end_epoch(
        self, epoch: int, score: Score | None, metric: str = "cider"
    ) -> dict[str, Any] | None:
        """Count the validation after an epoch.

        Args:
            epoch: The epoch, counted from 1.
            score: Its score; None: nothing to choose by, so that the last weights are the best.
            metric: What chooses the best weights, as --validation_metric names it. Of equal ones,
                the lowest cross-entropy is the best.

        Returns:
            `best`, if the weights of this epoch are the best so far; else None.
        """
        scalars = score.scalars() if score else {}
        better = (
            not scalars or self.best is None or _rank(scalars, metric) > _rank(self.best, metric)
        )
        self.scored = self.step
        self.without_better += 1
        if not better:
            return None
        self.without_better = 0
        self.best = {"epoch": epoch, "step": self.step}
        self.best |= {name: scalars[name] for name in _KEPT if name in scalars}
        return self.best


def _rank(scores: Mapping[str, float], metric: str) -> tuple[float, float]:
    """Return what orders scores: a logged validation, or `Position.best`."""
    loss = scores["cross_entropy"]
    if metric == "loss":
        return -loss, -loss
    captions = (CIDER, BLEU_4) if metric == "bleu_cider" else (CIDER,)
    return sum(scores[name] for name in captions), -loss
