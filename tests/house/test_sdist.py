"""What --setup_file=./setup.py ships to workers builds records where there is no TensorFlow.

The quick test hides all that the base install does not bring; the slow one installs just that.
"""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.house import allowed_imports
from tests.support.records import ROOT, CocoFolder, build_coco, checksums

# `sitecustomize` of every Python of the test, worker processes included.
_HIDE = """
import sys

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"{{name}} is not in the base install", name=name)

HIDDEN = {hidden!r}
sys.meta_path.insert(0, Hide())
"""


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """Make the archive as Beam makes it, of a copy of what git knows."""
    source = tmp_path_factory.mktemp("source")
    list_files = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(list_files, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in listed.split("\0"):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    from apache_beam.runners.portability.stager import Stager

    out = tmp_path_factory.mktemp("sdist")
    return Path(Stager._build_setup_package(str(source / "setup.py"), str(out)))


@pytest.fixture(scope="module")
def unpacked(sdist, tmp_path_factory) -> Path:
    """Unpack the archive and return the folder with the packages."""
    where = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(where, filter="data")
    (folder,) = where.iterdir()
    return folder


def distributions(requires: list[str]) -> set[str]:
    """Return the distributions that these requirements bring, each in one spelling."""
    names: set[str] = set()
    todo = [(Requirement(text), {""}) for text in requires]
    while todo:
        requirement, extras = todo.pop()
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in extras):
            continue
        key = spelt(requirement.name)
        if key in names and not requirement.extras:
            continue
        names.add(key)
        for text in importlib.metadata.requires(requirement.name) or ():
            todo.append((Requirement(text), requirement.extras | {""}))
    return names


def what_pip_installs(folder: Path, made: Path) -> list[str]:
    """Return what setup.py requires in this folder, as pip asks it."""
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", made],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    (info,) = made.glob("*.egg-info")
    return importlib.metadata.PathDistribution(info).requires or []


def spelt(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_base_install_builds_records(unpacked, tmp_path):
    base = distributions(what_pip_installs(unpacked, tmp_path)) | {"pip", "setuptools"}
    hidden = {
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if not base & {spelt(owner) for owner in owners}
        and not (ROOT / module).is_dir()  # an egg-info here makes our own rooms a distribution's
    }
    assert {"tensorflow", "keras", "h5py", "pycocotools", "dask", "boto3", "pytest"} <= hidden
    (tmp_path / "sitecustomize.py").write_text(_HIDE.format(hidden=hidden))
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{unpacked}"}
    _build_and_compare(sys.executable, environment, tmp_path)


def test_a_checkout_installs_little_and_an_archive_what_the_job_needs(unpacked, tmp_path):
    for_worker = {spelt(Requirement(text).name) for text in what_pip_installs(unpacked, tmp_path)}
    assert {"apache-beam", "nltk", "tensorflow-datasets"} <= for_worker
    shutil.rmtree(tmp_path / "captioner.egg-info")
    checkout = tmp_path / "checkout"
    shutil.copytree(unpacked, checkout, ignore=shutil.ignore_patterns("PKG-INFO"))
    base = [Requirement(text) for text in what_pip_installs(checkout, tmp_path)]
    names = {spelt(r.name) for r in base if not r.marker}
    assert names == {"numpy", "absl-py", "pillow", "simplejpeg"}


def test_the_archive_holds_what_is_no_python(unpacked):
    """Pages and their styles are read from the packages."""
    kinds = (".css", ".html", ".js", ".svg")
    here = {
        path.relative_to(ROOT)
        for room in allowed_imports()
        for path in (ROOT / room).rglob("*")
        if path.suffix in kinds
    }
    assert {Path("serving/page/index.html"), Path("evaluation/report/report.css")} <= here
    assert [path for path in here if not (unpacked / path).is_file()] == []


@pytest.mark.slow
def test_installed_in_a_clean_environment(sdist, tmp_path):
    """Needs the network: the packages come from the registry."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    pinned = ["--constraint", ROOT / "requirements.lock"]
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pinned]
    subprocess.run([*install, sdist], check=True, cwd=tmp_path)
    imported = subprocess.run([python, "-c", "import tensorflow"], capture_output=True, check=False)
    assert b"No module named 'tensorflow'" in imported.stderr
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    _build_and_compare(python, environment, tmp_path)


def _build_and_compare(python: str | Path, environment: dict, tmp_path: Path) -> None:
    """Run the commands there and compare the bytes with those that they make here."""

    def run(module: str, *args: str) -> str:
        command = [python, "-m", module, *args]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    folder = CocoFolder(tmp_path / "data" / "coco2017")
    run(
        "pipeline.build_records",
        "--runner=DirectRunner",
        "--direct_num_workers=2",
        "--train_shards=2",
        "--val_shards=1",
        "--min_word_count=1",
        "--verify=decode",
        "--image_size=24",
    )
    build_coco(folder, tmp_path / "here", verify="decode", image_size=24)
    assert checksums(tmp_path / "data/records/coco2017") == checksums(tmp_path / "here")
    run("pipeline.build_records", "--dataset=scenes", "--scenes_images=40")
    assert "all is well" in run(
        "pipeline.verify_records", "--records_dir=data/records/scenes", "--decode"
    )
