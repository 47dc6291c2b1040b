"""Prism, Beam's runner in Go: its program is looked at before Beam starts it."""

import os
import zipfile

import apache_beam

from cli.errors import UsageError
from pipeline.storage import files

_VERSION = f"v{apache_beam.__version__}"
_REMEDY = (
    f"`GOBIN=$PWD go install github.com/apache/beam/sdks/v2/go/cmd/prism@{_VERSION}` builds it"
    " here; --prism_location=https://github.com/apache/beam/releases/tag/"
    f"{_VERSION} downloads it"
)


def check(location: str | None) -> None:
    """Check where Prism's program is said to be.

    Beam downloads a program when none is named, and makes any file that is named executable.

    Args:
        location: What --prism_location says: a program or a zip of it, here or elsewhere.

    Raises:
        UsageError: None is named, or there is no program at that place of this machine.
    """
    if not location:
        raise UsageError(
            f"--runner=PrismRunner needs --prism_location=PATH, Prism's program: {_REMEDY}."
            " --runner=DirectRunner needs none"
        )
    if not files.is_local(location):
        return
    if not os.path.isfile(location):
        raise UsageError(f"--prism_location={location}: there is no such file; {_REMEDY}")
    if not os.access(location, os.X_OK) and not zipfile.is_zipfile(location):
        raise UsageError(
            f"--prism_location={location}: neither a program that may be run (`chmod +x` lets it)"
            f" nor a zip of one; {_REMEDY}"
        )
