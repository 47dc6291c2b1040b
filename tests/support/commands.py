"""What the tests of commands share: what a command printed, and where it runs."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from cli import command

ROOT = Path(__file__).parents[2]


def one_error(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the last line on stderr, which must be the only one that is an error."""
    stderr = capsys.readouterr().err
    assert "Traceback" not in stderr
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, stderr
    assert stderr.endswith(errors[0] + "\n")
    return errors[0]


def run_command(module: ModuleType, *args: str, **options: object) -> int:
    """Run a command in this process and return its exit code.

    Args:
        module: The command's module, which has `main` and `define_flags`.
        args: Arguments as on the command line.
        options: More flags, by name; None leaves a flag out.
    """
    before = sys.argv
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    named = [f"--{name}={value}" for name, value in options.items() if value is not None]
    sys.argv = ["command", *args, *named]
    try:
        command.run(module.main, module.define_flags)
    except SystemExit as exit_:
        return exit_.code or 0
    finally:
        sys.argv = before
        for number, handler in handlers.items():
            signal.signal(number, handler)
    raise AssertionError("a command ends the process")


def run_process(*program: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run Python as a process of its own, in the environment of a user.

    Args:
        program: What Python runs, as `"-m", "trainer.main"`, and its arguments.
        options: More flags, by name.
    """
    command = [sys.executable, *program, *(f"--{name}={value}" for name, value in options.items())]
    return subprocess.run(
        command, cwd=ROOT, env=users_environment(), capture_output=True, text=True, check=False
    )


def users_environment() -> dict[str, str]:
    """Return the environment of a process without what the tests set for themselves."""
    return {name: text for name, text in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
