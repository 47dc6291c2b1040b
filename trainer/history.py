"""What a run has been through: metrics.jsonl and TensorBoard's events."""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from cli import atomic_file
from cli.errors import UserError
from trainer.samples import Sample, Samples


class History:
    """metrics.jsonl and TensorBoard's events of a run; lines past the step gone on from are cut."""

    def __init__(self, run_dir: str, step: int, samples: Samples | None = None):
        self.path = os.path.join(run_dir, "metrics.jsonl")
        lines = []
        if os.path.exists(self.path):
            with open(self.path, encoding="utf-8") as file:
                lines = [line for line in file if _step_of(line) <= step]
        with _explained(run_dir):
            for folder in (run_dir, *([samples.directory] if samples else [])):
                atomic_file.sweep(folder)
        with _explained(self.path):
            atomic_file.write(self.path, "".join(lines).encode())
        self._samples = samples
        self._events_dir = os.path.join(run_dir, "events")
        with _explained(self._events_dir):
            self._events = tf.summary.create_file_writer(self._events_dir)

    def write(self, kind: str, step: int, values: dict[str, float], stamp: str = "") -> None:
        """One line of metrics.jsonl and the same scalars for TensorBoard."""
        line = {"kind": kind, "step": step, **{k: float(v) for k, v in values.items()}}
        line |= {"contamination": stamp} if stamp else {}
        with _explained(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        with _explained(self._events_dir):
            with self._events.as_default():
                for name, value in values.items():
                    stamped = f"{kind} {stamp}" if stamp else kind
                    tf.summary.scalar(f"{stamped}/{name}", value, step=step)
            self._events.flush()

    def show(self, step: int, samples: Sequence[Sample]) -> None:
        """Captions of a few images, and where they look, as files and for TensorBoard."""
        if self._samples and samples:
            with _explained(self._samples.directory), self._events.as_default():
                self._samples.write(step, samples)
                self._events.flush()


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """Turns a failure to write into a line for the user."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(
            f"{path}: cannot be written ({why}); free space and run the same command to go on"
        ) from None


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return np.inf  # a line cut by a kill


class Window:
    """Means over the steps since the last log line."""

    def __init__(self):
        self.began, self.waited, self.rows = time.monotonic(), 0.0, []

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time in here as time that the model waited for input."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.waited += time.monotonic() - began

    def add(self, values: dict[str, float]) -> None:
        """One step's scalars, with how many `words` and `captions` it had."""
        self.rows.append(values)

    def summary(self) -> dict[str, float]:
        """Means by name, perplexity, captions a second, the share of time without input."""
        words = np.array([row["words"] for row in self.rows])
        means = {
            name: float(np.average([row[name] for row in self.rows], weights=words))
            for name in self.rows[0]
            if name not in ("words", "captions")
        }
        seconds = time.monotonic() - self.began
        return {
            **means,
            "perplexity": float(np.exp(means["cross_entropy"])),
            "captions_per_second": sum(row["captions"] for row in self.rows) / seconds,
            "input_wait": self.waited / seconds,
        }
