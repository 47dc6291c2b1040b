"""The workflow on GitHub runs what `.ci/run` does, on every Python that setup.py allows."""

import re

from packaging.specifiers import SpecifierSet

from tests.support.commands import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"


def test_the_workflow_tests_every_supported_python():
    (supported,) = re.findall(r'python_requires="([^"]+)"', (ROOT / "setup.py").read_text())
    versions = [f"3.{minor}" for minor in range(8, 20)]
    expected = [version for version in versions if f"{version}.5" in SpecifierSet(supported)]
    (matrix,) = re.findall(r"python: \[(.*)\]", WORKFLOW.read_text())
    assert re.findall(r'"([^"]+)"', matrix) == expected


def test_the_workflow_runs_the_same_checks_and_may_only_read():
    workflow = WORKFLOW.read_text()
    assert re.findall(r"\brun: (.*)", workflow) == [".ci/run"]
    assert re.findall(r"permissions:\n((?:  .*\n)+)", workflow) == ["  contents: read\n"]


def test_the_checks_install_nothing_by_hand():
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in script if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == ["make setup", "make check", "make test"]
