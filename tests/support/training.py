"""Training and evaluation as the tests run them.

The commands run in this process; tests/conftest.py keeps what they made for several tests.
"""

import os
import signal
import sys
from pathlib import Path

import tensorflow as tf
from tensorflow.python.framework.config import disable_op_determinism

# The tests keep their stderr: cli.tensorflow_log would take file descriptor 2 away from pytest.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from artifacts.recipe import Recipe
from cli import command
from evaluation import main as evaluate
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


def _run(module, *args: str, **options) -> int:
    """Run a command in this process and return its exit code."""
    before, sigterm = sys.argv, signal.getsignal(signal.SIGTERM)
    named = [f"--{name}={value}" for name, value in options.items() if value is not None]
    sys.argv = ["command", *args, *named]
    try:
        command.run(module.main, module.define_flags)
    except SystemExit as exit_:
        return exit_.code or 0
    finally:
        sys.argv = before
        signal.signal(signal.SIGTERM, sigterm)
        disable_op_determinism()  # --deterministic is for the whole process


def train(*args: str, **options) -> int:
    """Run `trainer.main` with a tiny run's flags and these; None leaves a flag out."""
    return _run(main, *args, **(TINY | options))


def run_evaluate(*args: str, **options) -> int:
    """Run `evaluation.main` and return its exit code."""
    return _run(evaluate, *args, **options)


def events(run_dir: Path) -> dict[str, list[int]]:
    """Return what a run logged for TensorBoard: name -> steps."""
    steps: dict[str, list[int]] = {}
    for path in sorted((run_dir / "events").glob("events.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                steps.setdefault(value.tag, []).append(event.step)
    return steps
