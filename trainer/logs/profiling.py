"""--profile_steps=a:b: what the steps from a to b spend their time on, for TensorBoard."""

import contextlib
import os
import re
from collections.abc import Iterator

import tensorflow as tf

from artifacts.run_folder import RunFolder
from cli.errors import UsageError


class Profile:
    """Records a profile of some steps of a run.

    Args:
        folder: The run's folder; the profile goes into its events.
        steps: "a:b", the first and the last step to record, counted from 1; "" for none.

    Raises:
        UsageError: `steps` is nothing of the kind.
    """

    def __init__(self, folder: RunFolder, steps: str) -> None:
        match = re.fullmatch(r"(\d+):(\d+)", steps)
        self._directory, self._recording = folder.events, False
        self._first, self._last = map(int, match.groups()) if match else (0, 0)
        if steps and not 0 < self._first <= self._last:
            raise UsageError(
                f"--profile_steps={steps}: expected the first and the last step, as in 100:110"
            )

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Run a training step in this block, recorded if it is one of those to record.

        Args:
            number: The step, counted from 1.
        """
        if number == self._first:
            tf.profiler.experimental.start(os.fsencode(self._directory))
            self._recording = True
        yield
        if number == self._last:
            self.close()

    def close(self) -> None:
        """Write what was recorded, also when the run ends before the last step to record."""
        if self._recording:
            tf.profiler.experimental.stop()
            self._recording = False
