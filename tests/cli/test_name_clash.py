"""A module of the user that has the name of one of our rooms is one line, not a traceback."""

import os
import subprocess
import sys

import pytest

import cli
from tests.support.commands import ROOT
from tests.support.house import allowed_imports


def test_every_room_is_looked_for():
    assert {"cli", *cli._ROOMS} == allowed_imports().keys()


@pytest.mark.parametrize("name", ["model.py", "records/__init__.py"])
def test_a_module_that_hides_a_room_is_named(tmp_path, name):
    module = tmp_path / name
    module.parent.mkdir(exist_ok=True)
    module.write_text("raise SystemExit(9)\n")
    (tmp_path / "metrics").mkdir()  # A folder of data hides nothing.
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-m", "evaluation.score", "--results=a", "--annotations=b"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    room = name.removesuffix(".py").split("/")[0]
    line = f"error: {module} hides this program's own package {room!r} in {ROOT}; rename it"
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
    assert (done.returncode, done.stdout) == (1, "")
