"""Training and evaluation as the tests run them.

The commands run in this process; tests/conftest.py keeps what they made for several tests.
"""

import os
from pathlib import Path

import tensorflow as tf
from tensorflow.python.framework.config import disable_op_determinism

# The tests keep their stderr: cli.tensorflow_log would take file descriptor 2 away from pytest.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from artifacts.recipe import Recipe
from evaluation import main as evaluate
from tests.support.commands import run_command
from trainer import main

# Sizes of a run that takes a moment.
TINY = {
    "encoder": "small_cnn",
    "encoder_weights": "random",
    "batch_size": 4,
    "rnn_units": 24,
    "embedding_dim": 16,
    "attention_units": 16,
    "feature_projection": 16,
    "warmup_steps": 5,
    "learning_rate": 5e-3,
}


def config(**changes) -> Recipe:
    """Return a tiny run's recipe with these changes."""
    return Recipe(**({"epochs": 3} | TINY | {k: _plain(v) for k, v in changes.items()}))


def _plain(value):
    return str(value) if isinstance(value, Path) else value


def train(*args: str, **options) -> int:
    """Run `trainer.main` with a tiny run's flags and these; None leaves a flag out."""
    try:
        return run_command(main, *args, **(TINY | options))
    finally:
        disable_op_determinism()  # --deterministic is for the whole process


def run_evaluate(*args: str, **options) -> int:
    """Run `evaluation.main` and return its exit code."""
    return run_command(evaluate, *args, **options)


def events(run_dir: Path) -> dict[str, list[int]]:
    """Return what a run logged for TensorBoard: name -> steps."""
    steps: dict[str, list[int]] = {}
    for path in sorted((run_dir / "events").glob("events.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                steps.setdefault(value.tag, []).append(event.step)
    return steps
