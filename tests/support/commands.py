"""What the tests of commands share: what a command printed, and where it runs."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def one_error(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the last line on stderr, which must be the only one that is an error."""
    stderr = capsys.readouterr().err
    assert "Traceback" not in stderr
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, stderr
    assert stderr.endswith(errors[0] + "\n")
    return errors[0]


def users_environment() -> dict[str, str]:
    """Return the environment of a process without what the tests set for themselves."""
    return {name: text for name, text in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
