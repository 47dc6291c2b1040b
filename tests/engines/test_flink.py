"""Flink: what goes wrong on a cluster, how workers get the program, and the size of COCO."""

import json
import os
import signal
import sys
import venv
from pathlib import Path

import pytest

from tests.engines import clusters
from tests.engines.conftest import assert_same, outcome, start_build
from tests.pipeline.test_s3 import Store
from tests.support.commands import ROOT
from tests.support.records import jpeg

pytestmark = pytest.mark.slow
# Slow enough to be stopped in the middle.
SLOW = ("--features=mobilenet_v2", "--encoder_weights=random")


@pytest.fixture
def in_the_middle(flink, source, tmp_path):
    """A build of which some shards are finished, and its output directory."""
    clusters.wait_for(lambda: flink.cluster.slots() == 2, "free slots")
    process = flink.start(*source, *SLOW, f"--output_dir={tmp_path}")
    clusters.wait_for(lambda: len(list(tmp_path.glob("*.tfrecord.json"))) >= 3, "3 shards")
    yield process, tmp_path
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def assert_rerun_goes_on(flink, source, direct, output: Path) -> None:
    clusters.wait_for(lambda: flink.cluster.slots() == 2, "free slots")
    code, text = flink.build(*source, *SLOW, f"--output_dir={output}")
    assert code == 0, text
    assert "shards were finished before and kept" in text
    assert_same(output, direct(*SLOW))


def assert_one_error(text: str, *parts: str) -> None:
    error = text.splitlines()[-1]
    assert error.startswith("error: ") and text.count("error: ") == 1, text
    assert "Traceback" not in text
    for part in parts:
        assert part in error, error


def test_a_killed_task_manager(flink, source, direct, in_the_middle):
    process, output = in_the_middle
    for number in (1, 2):
        flink.cluster.kill(f"TaskManager{number}")
    for number in (1, 2):
        flink.cluster.start_worker(number)
    code, text = outcome(process)
    assert code == 1
    assert_one_error(text, "--runner=FlinkRunner: the job failed: ", "run the same command again")
    assert_rerun_goes_on(flink, source, direct, output)


def test_a_job_that_is_cancelled_in_flink(flink, source, direct, in_the_middle):
    process, output = in_the_middle
    (job,) = flink.cluster.running()
    flink.cluster.ask(f"/jobs/{job}?mode=cancel", "PATCH")
    code, text = outcome(process)
    assert code == 1
    assert_one_error(text, "cancel", "run the same command again")
    assert_rerun_goes_on(flink, source, direct, output)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_ended_command_takes_its_job_along(flink, source, direct, in_the_middle, number, code):
    process, output = in_the_middle
    os.kill(process.pid, number)
    assert outcome(process)[0] == code
    clusters.wait_for(lambda: not flink.cluster.running(), "the job's end")
    assert_rerun_goes_on(flink, source, direct, output)


def test_a_killed_command_can_be_given_again(flink, source, direct, in_the_middle):
    process, output = in_the_middle
    os.killpg(process.pid, signal.SIGKILL)
    outcome(process)
    # Its workers were threads of it, so Flink's job fails by itself.
    clusters.wait_for(lambda: not flink.cluster.running(), "the job's end")
    assert_rerun_goes_on(flink, source, direct, output)


def test_an_object_store(flink, source, direct):
    store = Store()
    try:
        code, text = flink.build(*source, *store.options, "--output_dir=s3://bucket/records")
        assert code == 0, text
        expected = direct()
        names = [path.name for path in expected.iterdir() if ".tfrecord" in path.name]
        for name in names:
            stored = store.client.get_object(Bucket="bucket", Key=f"records/{name}")["Body"].read()
            assert stored == (expected / name).read_bytes(), name
        assert len(names) > 40
    finally:
        store.stop()


def test_workers_in_processes_of_their_own(flink, source, direct, tmp_path, boot):
    output = tmp_path / "records"
    config = "--environment_config=" + json.dumps({"command": str(boot)})
    code, text = flink.build(*source, config, f"--output_dir={output}", environment="PROCESS")
    assert code == 0, text
    assert_same(output, direct())


def test_setup_file_brings_the_program_to_workers(flink, source, direct, tmp_path, boot):
    """The workers' Python has Beam and the other libraries, but not this program."""
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (here,) = Path(sys.prefix).glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(f"{here}\n")
    script = boot.read_text().replace(str(Path(sys.executable).parent), f"{environment}/bin")
    boot.write_text(
        script.replace(f'PYTHONPATH="{ROOT}"', "PYTHONPATH=").replace("exec", "cd /; exec")
    )
    output = tmp_path / "records"
    options = [
        "--environment_config=" + json.dumps({"command": str(boot)}),
        f"--output_dir={output}",
    ]
    code, text = flink.build(*source, *options, environment="PROCESS")
    assert code == 1
    assert_one_error(text, "its workers lack this program", "--setup_file=./setup.py")
    # Two workers of one machine would install it into the same Python at once.
    options += ["--setup_file=./setup.py", "--parallelism=1"]
    code, text = flink.build(*source, *options, environment="PROCESS")
    assert code == 0, text
    assert_same(output, direct())


def test_descriptions_of_the_size_of_coco(flink, tmp_path):
    """118,287 images with five captions each: links to few files, so that only text is large."""
    data = tmp_path / "coco"
    draw_coco(data, train=118_287, val=5_000)
    options = [f"--data_dir={data}", "--dataset=coco2017", "--allow_leak"]
    direct = tmp_path / "direct"
    runner = ["--runner=DirectRunner", "--direct_num_workers=2"]
    code, text = outcome(start_build([*runner, *options, f"--output_dir={direct}"]), 1200)
    assert code == 0, text
    output = tmp_path / "records"
    code, text = outcome(flink.start(*options, f"--output_dir={output}"), 1800)
    assert code == 0, text
    assert_same(output, direct)


def draw_coco(data: Path, **images: int) -> None:
    """Write a folder in COCO's layout whose images are links to few files."""
    data.mkdir()
    (data / "annotations").mkdir()
    first = 0
    for split, count in images.items():
        (folder := data / f"{split}2017").mkdir()
        ids = range(first, first + count)
        for image_id in ids:
            picture = data / f"picture{image_id // 60_000}.jpg"  # ext4 makes 65,000 links at most.
            if not picture.exists():
                picture.write_bytes(jpeg(0, (24, 16)))
            os.link(picture, folder / f"{image_id:012d}.jpg")
        content = {
            "images": [{"id": i, "file_name": f"{i:012d}.jpg"} for i in ids],
            "annotations": [
                {"id": 5 * i + k, "image_id": i, "caption": _caption(5 * i + k)}
                for i in ids
                for k in range(5)
            ],
        }
        (data / "annotations" / f"captions_{split}2017.json").write_text(json.dumps(content))
        first += count


def _caption(number: int) -> str:
    """Return a caption of COCO's length, 10 words of 9,000."""
    return " ".join(f"word{(number * 7919 + k * 104_729) % 9_000}" for k in range(10))
