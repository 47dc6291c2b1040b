"""Import this before TensorFlow to keep TensorFlow's C++ log off the terminal.

At every start TensorFlow writes a dozen lines about CPU features and missing GPUs to file
descriptor 2; no log level stops them. This module sends descriptor 2 to /dev/null and keeps
Python's own stderr. Only on a machine with a GPU does a user need these lines, to see why it is not
found: there any value of TF_CPP_MIN_LOG_LEVEL shows them.
"""

import faulthandler
import os
import sys

# NVIDIA's driver; the same under Windows' Linux.
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg")


def _silence_descriptor_2() -> None:
    stderr = os.fdopen(
        os.dup(2),
        "w",
        buffering=1,
        encoding=sys.stderr.encoding,
        errors="backslashreplace",
    )
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    sys.stderr = stderr
    faulthandler.enable(stderr)  # A crash in C++ must still say where.


def _writes_to_descriptor_2() -> bool:
    """Return whether stderr is descriptor 2: not closed, and not caught by a test or a notebook."""
    try:
        return sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):
        return False


def _wanted() -> bool:
    return bool(os.environ.get("TF_CPP_MIN_LOG_LEVEL")) and any(map(os.path.exists, _GPU_DEVICES))


if _writes_to_descriptor_2() and not _wanted():
    _silence_descriptor_2()
