"""The job on a real Dask cluster: a scheduler and two worker processes on loopback."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import apache_beam as beam
import pytest
from distributed import Client, get_task_stream

from cli.errors import UsageError, UserError
from pipeline.storage import lock
from records import shard_files, wire
from tests.support.records import (
    CocoFolder,
    build_coco,
    checksums,
    job,
    jpeg,
    verify,
    wait_until,
)

ROOT = Path(__file__).parents[2]
SHARDS = {"train_shards": 8, "val_shards": 2, "min_word_count": 1}


class Cluster:
    """A scheduler and workers of one thread each, all with other working directories than ours.

    Attributes:
        address: of the scheduler. client: the test's own, to look on.
    """

    def __init__(self, path: Path):
        self._path = path
        self._processes: list[subprocess.Popen] = []
        file = path / "scheduler.json"
        self._start("dask_scheduler", "--port=0", f"--scheduler-file={file}")
        wait_for(file.exists)
        self.address = json.loads(file.read_text())["address"]
        self.client = Client(self.address)

    def _start(self, program: str, *args: str, code: Path | str = ROOT) -> None:
        folder = self._path / str(len(self._processes))
        folder.mkdir()
        command = [sys.executable, "-m", f"distributed.cli.{program}", *args]
        with open(folder / "log", "w") as log:
            process = subprocess.Popen(
                [*command, "--host=127.0.0.1", "--no-dashboard"],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": str(code)},
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)

    def need_workers(self, count: int, code: Path | str = ROOT) -> None:
        """Start workers until there are `count`; the new ones import from `code`."""
        missing = count - len(self.client.nthreads())
        for _ in range(missing):
            options = ("--nthreads=1", "--no-nanny", f"--local-directory={self._path}")
            self._start("dask_worker", self.address, *options, code=code)
        wait_for(lambda: len(self.client.nthreads()) == count)

    def stop_worker(self) -> None:
        """Kill the worker that was started last."""
        before = len(self.client.nthreads())
        self._processes[-1].kill()
        wait_for(lambda: len(self.client.nthreads()) < before)

    def stop(self) -> None:
        self.client.close()
        for process in reversed(self._processes):
            process.kill()
            process.wait()


def wait_for(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def running_cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("dask"))
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster(running_cluster):
    running_cluster.need_workers(2)
    return running_cluster


@pytest.fixture
def folder(tmp_path):
    folder = CocoFolder(tmp_path / "coco", train=100)
    folder.add("train", 900, None)
    folder.add("val", 1900, jpeg(90)[:-2])
    folder.write()
    return folder


def assert_same(ours: Path, theirs: Path) -> None:
    """The same files with the same bytes; dataset_info.json but for the flags."""
    assert sorted(os.listdir(ours)) == sorted(os.listdir(theirs))
    assert checksums(ours) == checksums(theirs)
    for name in sorted(os.listdir(ours)):
        if name != "dataset_info.json":
            assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
    infos = [json.loads((path / "dataset_info.json").read_text()) for path in (ours, theirs)]
    for info in infos:
        del info["flags"]
    assert infos[0] == infos[1]


def test_two_workers_write_the_same_files(cluster, folder, tmp_path, monkeypatch, capsys):
    options = SHARDS | {"max_rejected_fraction": 0.2}
    build_coco(folder, tmp_path / "local", **options)
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)  # the workers are elsewhere
    dask = ("--runner=DaskRunner", f"--dask_client_address={cluster.address}")
    with get_task_stream(client=cluster.client) as stream:
        info = build_coco(folder, Path("records"), *dask, **options | {"data_dir": "coco"})
    assert_same(tmp_path / "local", tmp_path / "records")
    assert info.flags.every["output_dir"] == str(tmp_path / "records")
    writers = [task["worker"] for task in stream.data if task["key"].startswith("Write shards")]
    assert len(writers) >= 10 and len(set(writers)) == 2
    printed = capsys.readouterr()
    assert "108 images written in" not in printed.out and "106 images written in" in printed.out
    assert "108 of 108" in printed.err
    build_coco(folder, Path("records"), *dask, **options)
    assert "10 of 10 shards were finished before and kept" in capsys.readouterr().out


def test_killed_worker_changes_nothing(cluster, tmp_path):
    """One image is a pipe that nobody writes to: its worker hangs there until it is killed."""
    folder = CocoFolder(tmp_path / "coco", train=80)
    fresh, out = tmp_path / "fresh", tmp_path / "records"
    build_coco(folder, fresh, **SHARDS)
    with open(fresh / shard_files.shard_name("train", 5, 8), "rb") as file:
        name = [wire.from_bytes(record).file_name for record in wire.read_frames(file)][2]
    blocked = folder.path / "train2017" / name
    content = blocked.read_bytes()
    blocked.unlink()
    os.mkfifo(blocked)
    options = SHARDS | {"dataset": "coco2017", "data_dir": folder.path, "output_dir": out}
    command = [sys.executable, "-m", "pipeline.build_records", "--runner=DaskRunner"]
    arguments = [f"--{name}={value}" for name, value in options.items()]
    process = subprocess.Popen(
        [*command, f"--dask_client_address={cluster.address}", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for(lambda: list(out.glob(".tmp-*")) and len(list(out.glob("*.tfrecord.json"))) > 3)

    def hanging() -> list[str]:
        processing = cluster.client.processing().items()
        return [w for w, keys in processing if any(k.startswith("Write shards") for k in keys)]

    stuck: list[str] = []

    def one_hangs() -> bool:
        """Tell whether one worker alone is at work, and still is after a while."""
        stuck[:] = hanging()
        time.sleep(0.5)
        return len(stuck) == 1 and hanging() == stuck

    # The hanging one may hold tasks that the other will not take before it dies.
    wait_for(one_hangs)
    (worker,) = stuck
    os.kill(cluster.client.run(os.getpid)[worker], signal.SIGKILL)
    blocked.unlink()
    blocked.write_bytes(content)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    assert_same(fresh, out)
    assert verify(out, "--decode") == 0


@pytest.mark.slow
def test_what_runs_for_a_killed_submitter_keeps_the_next_job_off(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_PATIENCE_SECONDS", 0.5)
    folder = CocoFolder(tmp_path / "coco")
    fresh, out = tmp_path / "fresh", tmp_path / "records"
    build_coco(folder, fresh)
    blocked = folder.path / "train2017" / f"{5:012d}.jpg"
    content = blocked.read_bytes()
    blocked.unlink()
    os.mkfifo(blocked)
    with job(folder, out, f"--dask_client_address={cluster.address}", runner="DaskRunner") as first:
        wait_until(lambda: list(out.glob(".tmp-*")), first)
        first.kill()
        first.wait()
        with pytest.raises(UserError, match="another job is writing there"):
            build_coco(folder, out, image_size=24)
        blocked.write_bytes(content)  # to the worker
    wait_until(lambda: not list(out.glob(".tmp-*")))
    blocked.unlink()
    blocked.write_bytes(content)
    build_coco(folder, out)
    assert_same(fresh, out)


def test_errors_on_workers_are_one_line(cluster, folder, tmp_path):
    dask = ("--runner=DaskRunner", f"--dask_client_address={cluster.address}")
    with pytest.raises(
        UsageError, match=r"^--train_shards=999: the split train has 101 images only$"
    ):
        build_coco(folder, tmp_path / "records", *dask, train_shards=999)
    (folder.path / "train2017" / f"{7:012d}.jpg").unlink()
    (folder.path / "train2017" / f"{7:012d}.jpg").mkdir()
    with pytest.raises(UserError, match=r"^train: 2 of 101 images were rejected"):
        build_coco(folder, tmp_path / "records", *dask, max_rejected_fraction=0)


def test_worker_without_the_program_is_named(cluster, folder, tmp_path):
    cluster.need_workers(3, code=tmp_path)
    dask = ("--runner=DaskRunner", f"--dask_client_address={cluster.address}")
    try:
        with pytest.raises(UserError, match=r"^the Dask cluster cannot import 'pipeline': install"):
            build_coco(folder, tmp_path / "records", *dask)
    finally:
        cluster.stop_worker()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ([], UsageError, "--runner=DaskRunner needs --dask_client_address=tcp://HOST:8786"),
        (
            ["--dask_client_address=tcp://127.0.0.1:9", "--dask_connection_timeout=1"],
            UserError,
            "^no Dask scheduler answers at tcp://127.0.0.1:9: Timed out",
        ),
        (["--dask_scheduler_file=nowhere.json"], UserError, "at nowhere.json: .*No such file"),
    ],
)
def test_scheduler_that_cannot_be_reached(folder, tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        build_coco(folder, tmp_path / "records", "--runner=DaskRunner", *arguments)


def test_runner_refuses_what_it_does_not_do(cluster):
    from apache_beam.options.pipeline_options import PipelineOptions

    from pipeline.engines.dask_runner import DaskRunner

    options = PipelineOptions([f"--dask_client_address={cluster.address}"])

    def run(build) -> None:
        pipeline = beam.Pipeline(runner=DaskRunner(print), options=options)
        build(pipeline | beam.Create([1, 2]))
        pipeline.run()

    with pytest.raises(NotImplementedError, match="Flatten"):
        run(lambda numbers: (numbers, numbers) | beam.Flatten())
    with pytest.raises(NotImplementedError, match="tagged outputs"):
        run(lambda numbers: numbers | beam.Partition(lambda number, count: 0, 2))
