"""Import this before TensorFlow to keep TensorFlow's C++ log off the terminal.

At every start TensorFlow writes a dozen lines about CPU features and missing GPUs to file
descriptor 2; no log level stops them. This module sends descriptor 2 to /dev/null and keeps
Python's own stderr. Set TF_CPP_MIN_LOG_LEVEL, to any value, to see the log.
"""

import faulthandler
import os
import sys


def _silence_descriptor_2() -> None:
    stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    sys.stderr = stderr
    faulthandler.enable(stderr)  # A crash in C++ must still say where.


if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
    _silence_descriptor_2()
