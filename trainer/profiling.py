"""--profile_steps=a:b: what the steps from a to b spend their time on, for TensorBoard."""

import contextlib
import os
import re
from collections.abc import Iterator

import tensorflow as tf

from cli.errors import UsageError


class Profile:
    """Records some steps of a run into its `events/`.

    Call arguments:
        steps: "a:b", the first and the last of them, counted from 1; "" for none.

    Raises:
        UsageError: it is nothing like that.
    """

    def __init__(self, run_dir: str, steps: str):
        found = re.fullmatch(r"(\d+):(\d+)", steps)
        self._directory, self._on = os.path.join(run_dir, "events"), False
        self.first, self.last = map(int, found.groups()) if found else (0, 0)
        if steps and not 0 < self.first <= self.last:
            raise UsageError(
                f"--profile_steps={steps}: expected the first and the last step, as in 100:110"
            )

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Around each step."""
        if number == self.first:
            tf.profiler.experimental.start(self._directory)
            self._on = True
        yield
        if number == self.last:
            self.close()

    def close(self) -> None:
        """Write what there is, also when the run ends before the last of those steps."""
        if self._on:
            tf.profiler.experimental.stop()
            self._on = False
