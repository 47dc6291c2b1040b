"""Checkpoints of a run: the newest few to go on from, and the best by validation.

Weights, optimizer and step are one file, so that they cannot disagree. A file is there whole or not
at all; one that is damaged is skipped with a message and the one before it is taken.
"""

import glob
import os
import sys
from collections.abc import Iterable, Mapping

import keras
import numpy as np

from artifacts import weights
from cli import atomic_file
from cli.errors import UserError

_OPTIMIZER = "optimizer/"


class Checkpoints:
    """The folder `checkpoints/` of a run.

    Call arguments:
        run_dir: the run's folder.
        variables: those of the model that training changes.
        optimizer: a built Keras optimizer.
        keep: so many of those to go on from stay, the newest.
    """

    def __init__(
        self,
        run_dir: str,
        variables: Iterable[keras.Variable],
        optimizer: keras.optimizers.Optimizer,
        keep: int,
    ):
        self.directory = os.path.join(run_dir, "checkpoints")
        self.variables = list(variables)
        self.optimizer, self.keep = optimizer, keep

    @property
    def best_path(self) -> str:
        """Weights and note of the best epoch."""
        return os.path.join(self.directory, "best.npz")

    def newest(self) -> list[str]:
        """Paths of the checkpoints to go on from, the newest first."""
        return sorted(glob.glob(os.path.join(self.directory, "step-*.npz")), reverse=True)

    def save(self, step: int, note: Mapping) -> str:
        """Write `step-<step>.npz`, then remove all but the newest `keep`.

        Raises:
            UserError: it cannot be written; older checkpoints are kept.
        """
        arrays = weights.gather(self.variables)
        state = weights.gather(self.optimizer.variables)
        arrays |= {_OPTIMIZER + path: value for path, value in state.items()}
        path = os.path.join(self.directory, f"step-{step:09d}.npz")
        self._write(path, arrays, note)
        for old in self.newest()[self.keep :]:
            os.remove(old)
        return path

    def save_best(self, note: Mapping) -> None:
        """Write best.npz, without the optimizer.

        Raises:
            UserError: it cannot be written; the older one is kept.
        """
        self._write(self.best_path, weights.gather(self.variables), note)

    def best_is_good(self) -> bool:
        """Whether best.npz can be read; says so when it cannot."""
        try:
            weights.load(self.best_path)
        except (weights.DamagedError, FileNotFoundError) as error:
            print(f"warning: {error}; the next validation gives the best anew", file=sys.stderr)
            return False
        return True

    def _write(self, path: str, arrays: Mapping[str, np.ndarray], note: Mapping) -> None:
        try:
            os.makedirs(self.directory, exist_ok=True)
            weights.save(path, arrays, note)
        except OSError as error:
            kept = next(iter(self.newest()), "none")
            raise UserError(
                f"{path}: the checkpoint cannot be written ({error.strerror or error}); the newest"
                f" good one is {kept}: free space and run the same command to go on from it"
            ) from None

    def restore(self) -> dict | None:
        """Set model and optimizer from the newest good checkpoint.

        Returns: its note, or None when there is no checkpoint.

        Raises:
            UserError: there are checkpoints, and none of them is good.
        """
        atomic_file.sweep(self.directory)
        paths = self.newest()
        for path in paths:
            try:
                arrays, note = weights.load(path)
                state = {
                    name.removeprefix(_OPTIMIZER): value
                    for name, value in arrays.items()
                    if name.startswith(_OPTIMIZER)
                }
                weights.scatter(arrays, self.variables)
                weights.scatter(state, self.optimizer.variables)
                return note
            except weights.DamagedError as error:
                print(f"warning: skipping a damaged checkpoint: {error}", file=sys.stderr)
        if paths:
            raise UserError(
                f"{self.directory}: no good checkpoint among {len(paths)}; remove the run's folder"
                " to train from the start"
            )
        return None
