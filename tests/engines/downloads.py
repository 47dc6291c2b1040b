"""What the clusters need, from Maven, PyPI and Go's module proxy; it is kept in build/engines/."""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import apache_beam
import pytest

from tests.engines.versions import Versions
from tests.support.commands import ROOT

CACHE = ROOT / "build" / "engines"
BEAM = apache_beam.__version__


# Tells the user what takes so long; conftest.py lets it write beside what pytest captures.
say: Callable[[str], None] = print


def need(*programs: str) -> None:
    """Skip the test in one line if a program is missing."""
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"no {program} is on the PATH")


def job_server(engine: str, main: str, choices: Sequence[Versions]) -> tuple[Path, Versions]:
    """Return Beam's job server for an engine as a jar, and the versions that were to be had.

    Args:
        engine: flink or spark.
        main: Class that the jar runs.
        choices: Versions, the preferred ones first.
    """
    need("java", "mvn")
    problem = ""
    for versions in choices:
        folder = CACHE / f"{engine}-job-server-{versions.beam}"
        jar = folder / "job-server-1.jar"
        if jar.exists():
            return jar, versions
        say(f"build/engines/: job server of Beam {versions.beam}, {versions.runner}, from Maven")
        properties = {
            "runner": versions.runner,
            "beam": versions.beam,
            "engine": versions.engine,
            "main": main,
            "folder": f"{folder}.part",
        }
        shutil.rmtree(f"{folder}.part", ignore_errors=True)
        command = [
            "mvn",
            "-B",
            "-q",
            "-f",
            str(Path(__file__).parent / "job_server.xml"),
            f"-P{engine}",
        ]
        command += [f"-D{name}={value}" for name, value in properties.items()]
        maven = subprocess.run([*command, "package"], capture_output=True, text=True, check=False)
        if maven.returncode == 0:
            os.rename(f"{folder}.part", folder)
            return jar, versions
        lines = [line for line in maven.stdout.splitlines() if "ERROR" in line]
        problem = lines[0] if lines else maven.stdout + maven.stderr
        say(f"build/engines/: not to be had: {problem[:300]}")
    pytest.skip(f"Maven has no job server of Beam for {engine}: {problem[:300]}")


def engine_folder(package: str, version: str) -> Path:
    """Return the unpacked folder `deps` of an engine's package on PyPI, with its jars."""
    name = f"{package}-{version}"
    folder = CACHE / name
    if not folder.exists():
        say(f"build/engines/: {package} {version} from PyPI (240 to 320 MB)")
        CACHE.mkdir(parents=True, exist_ok=True)
        pip = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
        ]
        run = subprocess.run(
            [*pip, "--no-binary=:all:", f"--dest={CACHE}", f"{package}=={version}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            pytest.skip(f"PyPI has no {package} {version}: {run.stderr.strip().splitlines()[-1]}")
        (archive,) = CACHE.glob(f"{package.replace('-', '[-_]')}-{version}.tar.gz")
        shutil.rmtree(f"{folder}.part", ignore_errors=True)
        with tarfile.open(archive) as tar:
            tar.extractall(f"{folder}.part", filter="data")
        os.rename(f"{folder}.part", folder)
        archive.unlink()
    (deps,) = folder.glob("*/deps")
    return deps


def boot() -> Path:
    """Return Beam's program that starts a Python worker, built from its Go module."""
    return _built_by_go("python/container", "boot program of a Python worker")


def prism() -> Path:
    """Return Prism: what CAPTION_PRISM names, or else built from its Go module."""
    if named := os.environ.get("CAPTION_PRISM"):
        return Path(named)
    return _built_by_go("go/cmd/prism", "Prism")


def _built_by_go(package: str, what: str) -> Path:
    """Return the program of a package of Beam's Go module."""
    folder = CACHE / package.replace("/", "-")
    program = folder / Path(package).name
    if not program.exists():
        need("go")
        say(f"build/engines/: Beam's {what}, by Go")
        folder.mkdir(parents=True, exist_ok=True)
        module = f"github.com/apache/beam/sdks/v2/{package}@v{BEAM}"
        run = subprocess.run(
            ["go", "install", module],
            env=os.environ | {"GOBIN": str(folder), "GOFLAGS": "-mod=mod"},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            reason = run.stderr.strip().rpartition("\n")[2]
            pytest.skip(f"Go cannot build {module}: {reason}")
    return program
