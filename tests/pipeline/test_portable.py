"""Engines whose workers cannot report: progress from the output directory, and one line for errors.

The runner here is Beam's own of this process, which passes for an engine elsewhere by its name;
tests/engines/ has real ones.
"""

import re
import signal
import sys
import threading
import time

import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineState

from cli.errors import UsageError, UserError
from pipeline.engines import portable, shard_watch
from tests.support.records import CocoFolder, build_coco, checksums

ELSEWHERE = f"{__name__}.Elsewhere"
AGAIN = "; what is finished is kept: run the same command again to continue"


@pytest.fixture
def folder(tmp_path):
    return CocoFolder(tmp_path / "coco")


class Elsewhere(FnApiRunner):
    """A runner that is none of Beam's."""


class Result:
    """A job that an engine has taken."""

    def __init__(self, wait):
        self.wait_until_finish = wait
        self.cancelled = False

    def cancel(self):
        self.cancelled = True


class Job:
    """A pipeline whose run is `wait`."""

    def __init__(self, wait):
        self.result = Result(wait)

    def run(self):
        return self.result


def fails_with(text, kind=RuntimeError):
    def wait():
        raise kind(text)

    return Job(wait)


def test_an_engine_elsewhere_builds_the_same_and_says_what_it_kept(folder, tmp_path, capsys):
    build_coco(folder, tmp_path / "here", train_shards=3)
    build_coco(folder, tmp_path / "elsewhere", f"--runner={ELSEWHERE}", train_shards=3)
    assert checksums(tmp_path / "here") == checksums(tmp_path / "elsewhere")
    assert "kept" not in capsys.readouterr().out
    (tmp_path / "elsewhere" / "train-00001-of-00003.tfrecord.json").unlink()
    build_coco(folder, tmp_path / "elsewhere", f"--runner={ELSEWHERE}", train_shards=3)
    captured = capsys.readouterr()
    assert "3 of 4 shards were finished before and kept" in captured.out
    assert "4 of 4" in captured.err
    assert checksums(tmp_path / "here") == checksums(tmp_path / "elsewhere")


def test_a_shard_that_is_written_again_is_not_counted_as_kept(folder, tmp_path, capsys):
    build_coco(folder, tmp_path / "records", train_shards=3)
    build_coco(folder, tmp_path / "records", f"--runner={ELSEWHERE}", train_shards=3, seed=5)
    assert "kept" not in capsys.readouterr().out


def test_errors_of_stages_are_as_on_this_machine(folder, tmp_path):
    message = "--train_shards=99: the split train has 12 images only"
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        build_coco(folder, tmp_path / "records", f"--runner={ELSEWHERE}", train_shards=99)
    # From Beam's own worker process the error comes as a traceback's text.
    processes = ("--direct_num_workers=1", "--direct_running_mode=multi_processing")
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        build_coco(folder, tmp_path / "r", f"--runner={ELSEWHERE}", *processes, train_shards=99)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "RuntimeError"),
        ("no such\njob", "no such job"),
        (
            "java.lang.RuntimeException: x\n\tat a.b\nCaused by: it\n\tat c",
            "java.lang.RuntimeException: x",
        ),
        (
            "java.lang.RuntimeException: x\n\tat a.b\nCaused by: a.B$CException: refused",
            "a.B$CException: refused",
        ),
        ("Traceback:\n  File\na.B\nOSError: y\n\nThe job\nValueError: z", "ValueError: z"),
        (
            "Pipeline a-1_b failed in state FAILED: java.io.E$XException: y\n\tat",
            "java.io.E$XException: y",
        ),
        ("Pipeline a-1_b failed in state CANCELLED: stopped", "stopped"),
        ("x" * 9999, "x" * 500),
    ],
)
def test_the_text_of_an_engine_becomes_one_line(text, line, tmp_path):
    with pytest.raises(UserError) as caught:
        portable.run(fails_with(text), str(tmp_path), "FlinkRunner")
    assert str(caught.value) == f"--runner=FlinkRunner: the job failed: {line}{AGAIN}"


@pytest.mark.parametrize("kind", [UserError, UsageError])
def test_an_error_of_ours_is_taken_out_of_the_text_of_an_engine(kind, tmp_path):
    text = (
        "java.lang.RuntimeException: Error received from SDK harness: Traceback (most recent call"
        f" last):\n  File x\ncli.errors.{kind.__name__}: train: no room, a [b] [while running"
        " 'Write shards']\n\tat java.base\nCaused by: java.io.IOException: y"
    )
    with pytest.raises(UserError, match=re.escape("train: no room, a [b]") + "$") as caught:
        portable.run(fails_with(text), str(tmp_path), "FlinkRunner")
    assert type(caught.value) is kind


def test_threads_that_outlive_a_failure_print_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    with pytest.raises(UserError):
        portable.run(fails_with("x"), str(tmp_path), "FlinkRunner")
    capsys.readouterr()
    thread = threading.Thread(target=print, args=("a traceback",), kwargs={"file": sys.stderr})
    thread.start()
    thread.join()
    print("error: x", file=sys.stderr)
    assert capsys.readouterr().err == "error: x\n"


@pytest.mark.parametrize("name", ["PrismRunner", "PortableRunner"])
def test_a_job_server_that_does_not_answer_is_named(folder, tmp_path, name):
    options = ("--job_endpoint=localhost:9", "--job_server_timeout=1")
    with pytest.raises(UserError, match="no job server answered at --job_endpoint within"):
        build_coco(folder, tmp_path / "records", f"--runner={name}", *options)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("ModuleNotFoundError: No module named 'pipeline'", "its workers lack this program"),
        ("java.lang.IllegalStateException: Process died with exit code 1", "the command of --env"),
        ("java.io.IOException: error=2, No such file or directory", "the command of --environment"),
        ("Service failed to start up with error 3", "Beam's job server ended at its start"),
        ("Unable to fetch remote job server jar at https://x: 404", "job server cannot be had"),
        ("java.lang.E: Cannot call methods on a stopped SparkContext.", "Spark did not take"),
        ("java.net.ConnectException: Connection refused", "the connection to the cluster was lost"),
    ],
)
def test_what_engines_say_is_explained(text, meaning, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    with pytest.raises(UserError, match=r"^--runner=FlinkRunner: ") as caught:
        portable.run(fails_with(text), str(tmp_path), "FlinkRunner")
    error = str(caught.value)
    assert meaning in error and f"({text})" in error and error.endswith(AGAIN)


def test_nothing_of_java_is_said_about_prism(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    text = "Service failed to start up with error 1"
    with pytest.raises(UserError, match=f"^--runner=PrismRunner: the job failed: {text}; "):
        portable.run(fails_with(text), str(tmp_path), "PrismRunner")


@pytest.mark.parametrize("launcher", ["java", "/opt/nothing/java"])
def test_a_missing_java_is_named(tmp_path, monkeypatch, launcher):
    monkeypatch.setattr(sys, "stderr", sys.stderr)

    def wait():
        raise FileNotFoundError(2, "No such file or directory", launcher)

    with pytest.raises(UserError, match=f"there is no {launcher}, and Beam's job server needs"):
        portable.run(Job(wait), str(tmp_path), "FlinkRunner")


def test_a_job_that_the_engine_cancelled_has_not_succeeded(tmp_path):
    job = Job(lambda: PipelineState.CANCELLED)
    with pytest.raises(UserError, match="the job ended as CANCELLED; what is finished is kept"):
        portable.run(job, str(tmp_path), "FlinkRunner")


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (signal.SIGINT, KeyboardInterrupt),
        (signal.SIGTERM, SystemExit),
        (signal.SIGHUP, SystemExit),
    ],
)
def test_a_signal_cancels_the_job(tmp_path, monkeypatch, number, error):
    monkeypatch.setattr(sys, "stderr", sys.stderr)

    def wait():
        signal.raise_signal(number)
        threading.Event().wait(60)

    job = Job(wait)
    before = signal.signal(number, signal.default_int_handler)  # The tests may run under nohup.
    try:
        with pytest.raises(error):
            portable.run(job, str(tmp_path), "FlinkRunner")
        assert job.result.cancelled and signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


def test_a_command_of_nohup_outlives_its_terminal(tmp_path):
    def wait():
        signal.raise_signal(signal.SIGHUP)
        return PipelineState.DONE

    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        portable.run(Job(wait), str(tmp_path), "FlinkRunner")
    finally:
        signal.signal(signal.SIGHUP, handler)


def test_shards_are_counted_as_they_appear(folder, tmp_path, monkeypatch, capsys):
    build_coco(folder, tmp_path / "here", train_shards=3)
    capsys.readouterr()
    monkeypatch.setattr(shard_watch, "_POLL_SECONDS", 0.01)
    records = tmp_path / "records"
    records.mkdir()
    with shard_watch.ShardWatch(str(records)) as watch:
        for name in ("train-00002-of-00003.tfrecord.json", "val-00000-of-00001.tfrecord.json"):
            (records / name).write_bytes((tmp_path / "here" / name).read_bytes())
    assert "2 of 4" in capsys.readouterr().err
    assert not watch.kept()


def test_a_job_that_waits_says_so_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shard_watch, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(shard_watch, "_PATIENCE_SECONDS", 0.05)
    with shard_watch.ShardWatch(str(tmp_path)):
        time.sleep(0.3)
    assert capsys.readouterr().err.count("no shard is finished after a minute") == 1


def test_shards_of_an_earlier_build_are_not_taken_for_new_ones(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shard_watch, "_POLL_SECONDS", 0.01)
    for count in (2, 3):
        (tmp_path / f"train-00000-of-0000{count}.tfrecord.json").write_text("{}")
    with shard_watch.ShardWatch(str(tmp_path)):
        pass
    assert "0 of 0" in capsys.readouterr().err
