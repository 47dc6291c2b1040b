"""Importing this before TensorFlow takes the latter's C++ log off the terminal.

TensorFlow writes a dozen lines about CPU features and missing GPUs to file descriptor 2, at every
start and at no log level's bidding. Python's own stderr is kept. TF_CPP_MIN_LOG_LEVEL set to any
value shows it all.
"""

import faulthandler
import os
import sys


def _silence() -> None:
    terminal = os.fdopen(os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    sys.stderr = terminal
    faulthandler.enable(terminal)  # a crash in C++ must still say where


if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
    _silence()
