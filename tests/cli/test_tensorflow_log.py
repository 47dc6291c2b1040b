"""TensorFlow's C++ log: no user sees it on a CPU."""

import os
import subprocess
import sys

import pytest

from tests.support.commands import ROOT

_PROGRAM = """
import sys
import cli.tensorflow_log
import tensorflow as tf
tf.config.list_physical_devices("GPU"), tf.constant(1.0) + 1
print("message", file=sys.stderr)
"""


@pytest.mark.parametrize(
    "level", ["0", *(pytest.param(n, marks=pytest.mark.slow) for n in (None, "", "3"))]
)
def test_greetings_are_hidden_whatever_the_level(level):
    """Slow with levels that log less; tests/serving starts a command without the variable."""
    if level and any(map(os.path.exists, ("/dev/nvidiactl", "/dev/dxg"))):
        pytest.skip("with a GPU the variable shows the log")
    environment = {n: text for n, text in os.environ.items() if n != "TF_CPP_MIN_LOG_LEVEL"}
    if level is not None:
        environment["TF_CPP_MIN_LOG_LEVEL"] = level
    environment["CUDA_VISIBLE_DEVICES"] = ""  # no GPU, also where there is one
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "message\n")
