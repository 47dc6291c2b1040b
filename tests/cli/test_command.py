"""How every command ends when what it says cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")  # every write fails as on a full disk
# Shows progress, warns, does its work and says that it is done; or fails.
_COMMAND = """
import sys
from cli.command import run
from cli.errors import UserError
from cli.progress import bar

def main(rest):
    with bar(2, "working", "step") as progress:
        for _ in range(2):
            progress.update()
            progress.refresh()
            print("warning: " + 100_000 * "w", file=sys.stderr)
    if rest:
        raise UserError("the work failed")
    print("done")

run(main, others="positional")
"""
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def command(request):
    """The command -> (exit code, stdout, stderr), of which some are on a full disk."""

    def start(*args: str, full: tuple[str, ...]) -> tuple[int, str, str]:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with open(FULL, "w") as file:
            done = subprocess.run(
                [sys.executable, "-c", _COMMAND, *args],
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": request.param},
                text=True,
                **(streams | dict.fromkeys(full, file)),
            )
        return done.returncode, done.stdout or "", done.stderr or ""

    return start


def test_a_log_on_a_full_disk_does_not_cost_the_work(command):
    assert command(full=("stderr",)) == (0, "done\n", "")
    assert command("fail", full=("stderr",)) == (1, "", "")


def test_output_on_a_full_disk_is_a_line(command):
    code, _, err = command(full=("stdout",))
    assert code == 1 and "Traceback" not in err
    assert err.endswith("error: standard output: cannot be written (No space left on device)\n")
    assert command(full=("stdout", "stderr")) == (1, "", "")
