"""What stops a run that has gone wrong."""

import collections

import numpy as np

from artifacts.checkpoints import Checkpoints
from cli.errors import UserError

# A loss this many times the median of the last ones is more than an unlucky batch. An untrained
# model's loss is the log of the vocabulary's size, a trained one's a half or a third of that.
EXPLODED = 10
REMEMBERED = 100  # steps whose loss the median is taken of
_FLOOR = 1.0  # nats a word: the loss of an unlucky batch for a model that knows all by heart


class LossGuard:
    """Remembers what the loss usually is, and stops the run when it is not.

    Args:
        learning_rate: The flag of the learning rate, for messages.
        exploded: How many times the usual loss is too much. The loss of rewarded captions has no
            usual size: there it is infinite.
    """

    def __init__(self, learning_rate: str = "--learning_rate", exploded: float = EXPLODED) -> None:
        self._flag, self._exploded = learning_rate, exploded
        self._recent: collections.deque[float] = collections.deque(maxlen=REMEMBERED)

    def check(
        self,
        step: int,
        scalars: dict[str, float],
        image_ids: np.ndarray,
        checkpoints: Checkpoints,
    ) -> None:
        """Check one step.

        Args:
            step: The step, counted from 1.
            scalars: What the training step returned.
            image_ids: [B], the images of its batch, for the error message.
            checkpoints: Those of this run; the error names the newest.

        Raises:
            UserError: The loss or the gradient is not a number, or the loss has exploded.
        """
        total, norm = scalars["total"], scalars["gradient_norm"]
        usual = float(np.median(self._recent)) if self._recent else np.inf
        if np.isfinite(total + norm) and total <= self._exploded * max(usual, _FLOOR):
            self._recent.append(total)
            return
        before = f" ({usual:.3g} was usual)" if self._recent else ""
        images = ", ".join(str(image_id) for image_id in image_ids)
        good = next(iter(checkpoints.newest()), "none: it broke before the first")
        raise UserError(
            f"step {step}: the loss is {total:.4g}{before}, the gradient's norm {norm:.4g} at"
            f" learning rate {scalars['learning_rate']:.2g}, images {images}; lower {self._flag}"
            f" or --clip_norm; the last good checkpoint is {good}"
        )
