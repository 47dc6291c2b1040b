"""`make setup` in a folder of any name, in the shell of a user whose pip is set up otherwise."""

import importlib.metadata
import os
import re
import shutil
import subprocess

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.support.commands import ROOT

# Stands for Python: as `-m venv` it makes .venv, and as the Python there it writes down its call.
_PYTHON = """#!/bin/sh
case "$*" in
  *"-m venv"*) mkdir -p .venv/lib .venv/bin && cp "$0" .venv/bin/python ;;
  *"-m pip"*) echo "$PIP_TARGET|$PIP_PREFIX|$PIP_ROOT|$PIP_USER|$PIP_INDEX_URL|$*" > call ;;
esac
"""
_SETTINGS = {
    **dict.fromkeys(("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"), "/elsewhere"),
    "PIP_USER": "1",
    "PIP_INDEX_URL": "https://mirror",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def test_pip_installs_into_the_checkout(tmp_path):
    folder = tmp_path / "my projects" / "c[ap]tioner $é'"
    folder.mkdir(parents=True)
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    python = folder / "python"
    python.write_text(_PYTHON)
    python.chmod(0o755)
    done = subprocess.run(
        ["make", "setup", "PYTHON=./python"],
        cwd=folder,
        env=os.environ | _SETTINGS,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / ".venv" / "installed").exists()
    call = (folder / "call").read_text()
    assert call.startswith("|||0|https://mirror|-I -m pip install ")


def test_pip_takes_every_locked_version_for_both_pythons():
    # uv overlooks that a package may be for earlier Pythons only, and pip does not.
    lock = (ROOT / "requirements.lock").read_text()
    pinned = dict(re.findall(r"^([a-z0-9.-]+)(?:\[.*?\])?==(\S+)", lock, re.MULTILINE))
    refused = []
    for installed in importlib.metadata.distributions():
        name = canonicalize_name(installed.metadata["Name"])
        pythons = SpecifierSet(installed.metadata.get("Requires-Python") or "")
        if name in pinned and not ("3.11.7" in pythons and "3.12.3" in pythons):
            refused.append(f"{name} {installed.version}: {pythons}")
    # SciPy's version of each Python is another one.
    assert [line for line in refused if not line.startswith("scipy ")] == []
