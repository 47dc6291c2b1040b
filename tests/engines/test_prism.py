"""Prism, which runs beside the command: what is left when one of the two is killed."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from tests.engines.clusters import wait_for
from tests.engines.conftest import assert_same, outcome, start_build
from tests.support.records import CocoFolder, children, gone, jpeg

pytestmark = pytest.mark.slow
SHARDS = 60


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> list[str]:
    """Options of a build that takes some seconds."""
    folder = CocoFolder(tmp_path_factory.mktemp("many"), train=0)
    for image_id in range(10_000, 14_000):
        folder.add("train", image_id, jpeg(image_id))
    folder.write()
    options = ["--dataset=coco2017", f"--data_dir={folder.path}", "--min_word_count=1"]
    return [*options, f"--train_shards={SHARDS}", "--val_shards=1"]


@pytest.fixture(scope="module")
def expected(many, tmp_path_factory) -> Path:
    """The records that DirectRunner writes."""
    output = tmp_path_factory.mktemp("direct")
    code, text = outcome(start_build(["--runner=DirectRunner", *many, f"--output_dir={output}"]))
    assert code == 0, text
    return output


@pytest.fixture
def in_the_middle(prism, many, tmp_path, monkeypatch):
    """A build of which some shards are finished, Prism's process id, and the output directory."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    output = tmp_path / "records"
    process = prism.start(*many, f"--output_dir={output}")
    wait_for(lambda: len(list(output.glob("*.tfrecord.json"))) >= 3, "3 shards")
    (prisms_pid,) = [pid for pid in children(process) if runs_prism(pid)]
    yield process, prisms_pid, output
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def runs_prism(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"--job_port" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def assert_rerun_goes_on(prism, many, output: Path, expected: Path) -> None:
    finished = {path.name: path.stat().st_ino for path in output.glob("*.tfrecord.json")}
    assert 3 <= len(finished) < SHARDS + 1
    code, text = prism.build(*many, f"--output_dir={output}")
    assert code == 0, text
    assert f"{len(finished)} of {SHARDS + 1} shards were finished before and kept" in text
    for name, inode in finished.items():
        assert (output / name).stat().st_ino == inode
    assert_same(output, expected)


def assert_one_error(text: str, *parts: str) -> None:
    error = text.splitlines()[-1]
    assert error.startswith("error: ") and text.count("error: ") == 1, text
    assert "Traceback" not in text and "Exception" not in text
    for part in parts:
        assert part in error, error


def test_prism_is_killed(prism, many, in_the_middle, expected):
    process, prisms_pid, output = in_the_middle
    os.kill(prisms_pid, signal.SIGKILL)
    code, text = outcome(process)
    assert code == 1
    assert_one_error(text, "--runner=PrismRunner: the job failed: ", "run the same command again")
    assert os.listdir(output.parent / "temporary") == []
    assert_rerun_goes_on(prism, many, output, expected)


def test_the_command_is_killed(prism, many, in_the_middle, expected):
    process, prisms_pid, output = in_the_middle
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_for(lambda: gone([prisms_pid]), "the end of Prism")
    assert_rerun_goes_on(prism, many, output, expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_is_interrupted(prism, many, in_the_middle, expected, number):
    process, prisms_pid, output = in_the_middle
    os.killpg(process.pid, number)  # As a terminal does; Prism gets it too.
    code, text = outcome(process)
    if number == signal.SIGINT:
        assert code == 130
        assert_one_error(text, "interrupted; run the same command again")
    else:
        assert code == 128 + signal.SIGTERM and "Traceback" not in text
    assert gone([prisms_pid])
    assert os.listdir(output.parent / "temporary") == []
    assert_rerun_goes_on(prism, many, output, expected)


def test_nothing_is_left_of_a_job_that_ends_well(prism, source, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    process = prism.start(*source, f"--output_dir={tmp_path / 'records'}")
    code, text = outcome(process)
    assert code == 0, text
    assert os.listdir(tmp_path / "temporary") == []


def test_a_program_that_is_not_prism(many, tmp_path):
    """Beam starts it three times."""
    options = ["--runner=PrismRunner", "--prism_location=/bin/false", *many]
    code, text = outcome(start_build([*options, f"--output_dir={tmp_path}"]))
    assert code == 1
    assert_one_error(text, "--runner=PrismRunner: the job failed: Service failed to start up")
