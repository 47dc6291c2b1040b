"""What stops a run that has gone wrong."""

import collections

import numpy as np

from artifacts.checkpoints import Checkpoints
from cli.errors import UserError

# A loss this many times the median of the last ones is no unlucky batch any more. An untrained
# model has the log of the vocabulary's size, a trained one half or a third of it.
EXPLODED = 10
REMEMBERED = 100
_FLOOR = 1.0  # nats a word; a model that knows all by heart may be surprised that much


class LossGuard:
    """Knows what the loss usually is."""

    def __init__(self):
        self._recent = collections.deque(maxlen=REMEMBERED)

    def check(
        self,
        step: int,
        values: dict[str, float],
        image_ids: np.ndarray,
        checkpoints: Checkpoints,
    ) -> None:
        """Look at one step.

        Call arguments:
            values: what `build_step`'s function gave.
            image_ids: [B], of its batch. checkpoints: of this run.

        Raises:
            UserError: the loss or the gradient is no number, or the loss has exploded.
        """
        total, norm = values["total"], values["gradient_norm"]
        usual = float(np.median(self._recent)) if self._recent else np.inf
        if np.isfinite(total + norm) and total <= EXPLODED * max(usual, _FLOOR):
            self._recent.append(total)
            return
        before = f" ({usual:.3g} was usual)" if self._recent else ""
        images = ", ".join(str(image_id) for image_id in image_ids)
        good = next(iter(checkpoints.newest()), "none: it broke before the first")
        raise UserError(
            f"step {step}: the loss is {total:.4g}{before}, the gradient's norm {norm:.4g} at"
            f" learning rate {values['learning_rate']:.2g}, images {images}; lower --learning_rate"
            f" or --clip_norm; the last good checkpoint is {good}"
        )
