"""Checkpoints of a run: the newest few to resume from, and the best weights by validation.

A checkpoint holds weights, optimizer and step in one file, so that they cannot disagree. A damaged
checkpoint is skipped with a warning, and the one before it is taken.
"""

import contextlib
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

OPTIMIZER = "optimizer/"  # before the names of the optimizer's variables in a checkpoint
_CHECKPOINT = re.compile(r"step-\d+\.npz")


def newest(folder: RunFolder) -> list[str]:
    """Return the paths of a run's checkpoints to resume from, the newest first.

    Args:
        folder: The run's folder.
    """
    names = filter(_CHECKPOINT.fullmatch, folder.checkpoint_names())
    return [os.path.join(folder.checkpoints, name) for name in sorted(names, reverse=True)]


def newest_note(folder: RunFolder, run_id: str) -> Note | None:
    """Return the note of a run's newest checkpoint that can be read; None where there is none.

    Args:
        folder: The run's folder.
        run_id: The run's `RunConfig.id`.

    Raises:
        UserError: The checkpoint is of another run.
    """
    for path in newest(folder):
        with contextlib.suppress(DamagedError):
            note = weights_file.load_note(path)
            weights_file.require_run(path, note, run_id)
            return note
    return None


def refuse_best_alone(folder: RunFolder) -> None:
    """Refuse to begin anew where only the best weights are left, which that would overwrite.

    Args:
        folder: The run's folder.

    Raises:
        UserError: The best weights are there, and no checkpoint.
    """
    if os.path.exists(folder.best) and not newest(folder):
        raise UserError(
            f"{folder.best}: no checkpoint to resume from lies beside it, and training from the"
            " start would overwrite it; put the newest step-*.npz back, or give another --run_dir"
        )


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: The run's folder.
        variables: The variables of the captioner that training changes.
        optimizer: A built Keras optimizer.
        keep: How many checkpoints to keep for resuming, the newest ones.
        run_id: The run's `RunConfig.id`; files of another run are refused.
    """

    def __init__(
        self,
        folder: RunFolder,
        variables: Iterable[keras.Variable],
        optimizer: keras.optimizers.Optimizer,
        keep: int,
        run_id: str = "",
    ):
        self.folder, self.run_id = folder, run_id
        self.variables = list(variables)
        self.optimizer, self.keep = optimizer, keep

    def newest(self) -> list[str]:
        """Return the paths of the checkpoints to resume from, the newest first."""
        return newest(self.folder)

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
        arrays |= {OPTIMIZER + path: value for path, value in state.items()}
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
        """Tell whether the best weights can be read; warn when they cannot.

        Raises:
            UserError: They are of another run.
        """
        try:
            _, note = weights_file.load(self.folder.best)
            weights_file.require_run(self.folder.best, note, self.run_id)
        except (DamagedError, FileNotFoundError) as error:
            print(f"warning: {error}; the next validation writes them anew", file=sys.stderr)
            return False
        return True

    def restore(self) -> Note | None:
        """Set captioner and optimizer from the newest good checkpoint.

        Returns:
            The checkpoint's note; None when there is no checkpoint.

        Raises:
            UserError: There are checkpoints, and none of them is good; the newest is of another
                run; or only the best weights are left, which training from the start would
                overwrite.
        """
        atomic_file.sweep(self.folder.checkpoints)
        paths = self.newest()
        for path in paths:
            try:
                arrays, note = weights_file.load(path)
                weights_file.require_run(path, note, self.run_id)
                state = {
                    name.removeprefix(OPTIMIZER): value
                    for name, value in arrays.items()
                    if name.startswith(OPTIMIZER)
                }
                weights_file.scatter(arrays, self.variables, path)
                weights_file.scatter(state, self.optimizer.variables, path)
                return note
            except DamagedError as error:
                print(f"warning: skipping a damaged checkpoint: {error}", file=sys.stderr)
        if paths:
            raise UserError(
                f"{self.folder.checkpoints}: no good checkpoint among {len(paths)}; remove the"
                " run's folder to train from the start"
            )
        refuse_best_alone(self.folder)
        return None

    def _write(self, path: str, arrays: Arrays, note: Mapping[str, Any]) -> None:
        try:
            os.makedirs(self.folder.checkpoints, exist_ok=True)
            weights_file.save(path, arrays, weights_file.owned(note, self.run_id))
        except OSError as error:
            kept = next(iter(self.newest()), "none")
            raise UserError(
                f"{path}: the checkpoint cannot be written ({error.strerror or error}); the newest"
                f" good one is {kept}: free space and run the same command to resume from it"
            ) from None
