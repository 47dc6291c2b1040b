"""The workflow on GitHub runs what `.ci/run` does, on every Python that setup.py allows."""

import re
import shutil
import subprocess

import pytest
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


@pytest.fixture
def checks(tmp_path):
    """Run `.ci/run` where `make` and others only write down that they were called."""
    for name in ("bash", "dirname", "timeout"):
        (tmp_path / name).symlink_to(shutil.which(name))

    def run_checks(**programs: str) -> tuple[list[str], str]:
        for name, script in {"make": "", "id": "echo 0", "apt-get": "exit 100", **programs}.items():
            call = f'echo "{name} $*" >> "{tmp_path}/calls"'
            (tmp_path / name).write_text(f"#!{shutil.which('bash')}\n{call}\n{script}\n")
            (tmp_path / name).chmod(0o755)
        done = subprocess.run(
            ["bash", ROOT / ".ci" / "run"],
            env={"PATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return (tmp_path / "calls").read_text().splitlines(), done.stdout

    return run_checks


MAKE = ["make setup", "make check", "make test"]


def test_the_checks_install_nothing_by_hand_but_a_browser(checks):
    calls, printed = checks()
    assert calls == [*MAKE, "id -u", "apt-get install -qq -y chromium"]
    assert printed.startswith("skipped: the tests of the web page, because there is no chromium")


def test_the_checks_drive_the_browser_that_is_there(checks):
    calls, printed = checks(chromium="")
    assert (calls, printed) == ([*MAKE, "make test-page"], "")


def test_the_checks_install_nothing_for_a_user_who_may_not(checks):
    calls, printed = checks(id="echo 1000")
    assert calls == [*MAKE, "id -u"] and "skipped" in printed
