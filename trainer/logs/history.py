"""What is logged of a run: metrics.jsonl and TensorBoard's events."""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from artifacts.run_folder import RunFolder
from cli import atomic_file
from cli.errors import UserError
from trainer.logs import events
from trainer.logs.samples import Sample, Samples
from trainer.position import Position


class History:
    """Writes metrics.jsonl and TensorBoard's events of a run.

    Lines and events past the position that the run resumes from are removed.

    Args:
        folder: The run's folder.
        position: How far the run is.
        samples: Writes the sample captions; None where there are none.

    Raises:
        UserError: A file cannot be written.
    """

    def __init__(
        self, folder: RunFolder, position: Position, samples: Samples | None = None
    ) -> None:
        self.path = folder.metrics
        lines = []
        if os.path.exists(self.path):
            with open(self.path, encoding="utf-8") as file:
                lines = [line for line in file if _is_past(line, position)]
        with _reported(folder.path):
            for directory in (folder.path, folder.samples):
                atomic_file.sweep(directory)
        with _reported(self.path):
            atomic_file.write(self.path, "".join(lines).encode())
        self._samples = samples
        self._events_dir = folder.events
        with _reported(self._events_dir):
            events.cut(self._events_dir, position)
            self._events = tf.summary.create_file_writer(os.fsencode(self._events_dir))

    def write(self, kind: str, step: int, scalars: dict[str, float], stamp: str = "") -> None:
        """Write a line of metrics.jsonl and the same scalars for TensorBoard.

        Args:
            kind: "train" or "val".
            step: The step that the scalars belong to.
            scalars: Name -> value.
            stamp: What is wrong with the scores, "CONTAMINATED n%"; "" for nothing.

        Raises:
            UserError: A file cannot be written.
        """
        line = {"kind": kind, "step": step, **{k: float(v) for k, v in scalars.items()}}
        line |= {"contamination": stamp} if stamp else {}
        with _reported(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        with _reported(self._events_dir):
            with self._events.as_default():
                group = f"{kind} {stamp}" if stamp else kind
                for name, value in scalars.items():
                    tf.summary.scalar(f"{group}/{name}", value, step=step)
            self._events.flush()

    def show(self, step: int, samples: Sequence[Sample]) -> None:
        """Write the captions of a few images and where they look, as files and for TensorBoard.

        Args:
            step: The step after which they were generated.
            samples: The captions.

        Raises:
            UserError: A file cannot be written.
        """
        if self._samples and samples:
            with _reported(self._samples.folder), self._events.as_default():
                self._samples.write(step, samples)
                self._events.flush()


@contextlib.contextmanager
def _reported(path: str) -> Iterator[None]:
    """Turn a failure to write into one line for the user."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(
            f"{path}: cannot be written ({why}); free space and run the same command to resume"
        ) from None


def _is_past(line: str, position: Position) -> bool:
    """Return whether a run at this position has written the line for good."""
    try:
        scalars = json.loads(line)
        return scalars["step"] <= (position.scored if scalars["kind"] == "val" else position.step)
    except (ValueError, KeyError, TypeError):
        return False  # a line that a kill cut short


class StepWindow:
    """Means over the steps since the last line of the log."""

    def __init__(self) -> None:
        self._began, self._waited = time.monotonic(), 0.0
        self._steps: list[dict[str, float]] = []

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time in this block as time that the model waited for input."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._waited += time.monotonic() - began

    def add(self, scalars: dict[str, float]) -> None:
        """Add a step.

        Args:
            scalars: What the training step returned; `words` and `captions` are its counts.
        """
        self._steps.append(scalars)

    def summary(self) -> dict[str, float]:
        """Return the means, captions a second, and the share of time without input.

        A step weighs as much as it has words. Where there is a cross-entropy, there is the
        perplexity, too.
        """
        words = np.array([step["words"] for step in self._steps])
        means = {
            name: float(np.average([step[name] for step in self._steps], weights=words))
            for name in self._steps[0]
            if name not in ("words", "captions")
        }
        seconds = time.monotonic() - self._began
        if "cross_entropy" in means:
            means["perplexity"] = float(np.exp(means["cross_entropy"]))
        return {
            **means,
            "captions_per_second": sum(step["captions"] for step in self._steps) / seconds,
            "input_wait": self._waited / seconds,
        }
