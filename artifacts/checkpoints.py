"""Checkpoints of a run: the newest few to resume from, and the best weights by validation.

A checkpoint holds weights, optimizer and step in one file, so that they cannot disagree. A damaged
checkpoint is skipped with a warning, and the one before it is taken.
"""

import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from artifacts import weights_file
from artifacts.run_folder import RunFolder
from artifacts.weights_file import Arrays, DamagedError, Note
from cli import atomic_file
from cli.errors import UserError

_OPTIMIZER = "optimizer/"
_CHECKPOINT = re.compile(r"step-\d+\.npz")


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: The run's folder.
        variables: The variables of the captioner that training changes.
        optimizer: A built Keras optimizer.
        keep: How many checkpoints to keep for resuming, the newest ones.
    """

    def __init__(
        self,
        folder: RunFolder,
        variables: Iterable[keras.Variable],
        optimizer: keras.optimizers.Optimizer,
        keep: int,
    ):
        self.folder = folder
        self.variables = list(variables)
        self.optimizer, self.keep = optimizer, keep

    def newest(self) -> list[str]:
        """Return the paths of the checkpoints to resume from, the newest first."""
        names = filter(_CHECKPOINT.fullmatch, self.folder.checkpoint_names())
        return [os.path.join(self.folder.checkpoints, name) for name in sorted(names, reverse=True)]

    def save(self, step: int, note: Mapping[str, Any]) -> str:
        """Write the checkpoint of a step, then remove all but the newest `keep`.

        Args:
            step: Steps done.
            note: What to keep beside the weights; must be JSON.

        Returns:
            The checkpoint's path.

        Raises:
            UserError: It cannot be written; older checkpoints are kept.
        """
        arrays = weights_file.gather(self.variables)
        state = weights_file.gather(self.optimizer.variables)
        arrays |= {_OPTIMIZER + path: value for path, value in state.items()}
        path = self.folder.checkpoint(step)
        self._write(path, arrays, note)
        for old in self.newest()[self.keep :]:
            os.remove(old)
        return path

    def save_best(self, note: Mapping[str, Any]) -> None:
        """Write the best weights, without the optimizer.

        Args:
            note: What to keep beside the weights; must be JSON.

        Raises:
            UserError: They cannot be written; the older ones are kept.
        """
        self._write(self.folder.best, weights_file.gather(self.variables), note)

    def best_is_good(self) -> bool:
        """Tell whether the best weights can be read; warn when they cannot."""
        try:
            weights_file.load(self.folder.best)
        except (DamagedError, FileNotFoundError) as error:
            print(f"warning: {error}; the next validation writes them anew", file=sys.stderr)
            return False
        return True

    def restore(self) -> Note | None:
        """Set captioner and optimizer from the newest good checkpoint.

        Returns:
            The checkpoint's note; None when there is no checkpoint.

        Raises:
            UserError: There are checkpoints, and none of them is good; or only the best weights
                are left, which training from the start would overwrite.
        """
        atomic_file.sweep(self.folder.checkpoints)
        paths = self.newest()
        for path in paths:
            try:
                arrays, note = weights_file.load(path)
                state = {
                    name.removeprefix(_OPTIMIZER): value
                    for name, value in arrays.items()
                    if name.startswith(_OPTIMIZER)
                }
                weights_file.scatter(arrays, self.variables)
                weights_file.scatter(state, self.optimizer.variables)
                return note
            except DamagedError as error:
                print(f"warning: skipping a damaged checkpoint: {error}", file=sys.stderr)
        if paths:
            raise UserError(
                f"{self.folder.checkpoints}: no good checkpoint among {len(paths)}; remove the"
                " run's folder to train from the start"
            )
        if os.path.exists(self.folder.best):
            raise UserError(
                f"{self.folder.best}: no checkpoint to resume from lies beside it, and training"
                " from the start would overwrite it; put the newest step-*.npz back, or give"
                " another --run_dir"
            )
        return None

    def _write(self, path: str, arrays: Arrays, note: Mapping[str, Any]) -> None:
        try:
            os.makedirs(self.folder.checkpoints, exist_ok=True)
            weights_file.save(path, arrays, note)
        except OSError as error:
            kept = next(iter(self.newest()), "none")
            raise UserError(
                f"{path}: the checkpoint cannot be written ({error.strerror or error}); the newest"
                f" good one is {kept}: free space and run the same command to resume from it"
            ) from None
