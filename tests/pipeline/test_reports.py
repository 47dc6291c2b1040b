"""What workers report reaches the submitter as it was: counts, and the failure that comes first."""

import pickle
import subprocess
import sys
import tempfile
import time

import pytest

from cli.errors import UsageError, UserError
from pipeline.job import graph, reports
from tests.support.records import ROOT, CocoFolder, build_coco


@pytest.fixture
def monitor():
    monitor = reports.Monitor()
    yield monitor
    monitor.close()


@pytest.fixture
def folder(tmp_path):
    return CocoFolder(tmp_path / "coco")


@pytest.mark.parametrize(
    "error", [UserError("a: no room\n\t“é🐕 [x] :end"), UsageError("b" * 20_000)]
)
def test_a_failure_arrives_as_it_was(monitor, error):
    with reports.through_file(monitor) as report:
        # It travels to the workers with the job.
        pickle.loads(pickle.dumps(report))(reports.failure(error))
    assert type(monitor.failure) is type(error) and str(monitor.failure) == str(error)


def test_the_first_failure_is_kept(monitor):
    with reports.through_file(monitor) as report:
        report({"counts": {"listed": 1}})
        for text in ("first", "second"):
            report(reports.failure(UserError(text)))
    monitor.fail(UserError("third"))
    assert str(monitor.failure) == "first" and monitor.counts == {"listed": 1}


# It imports no Beam, which would take it longer than everything else.
_REPORT_OFTEN = """
import pickle, sys
report = pickle.load(sys.stdin.buffer)
print("ready", flush=True)
sys.stdin.read()  # Until all are ready.
for _ in range(2000):
    report({"counts": {"listed": 1, "x" * 300: 1}})
"""


def test_messages_of_several_processes_do_not_mix(monitor):
    command = [sys.executable, "-c", _REPORT_OFTEN]
    with reports.through_file(monitor) as report:
        pipe = subprocess.PIPE
        workers = [subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe) for _ in range(3)]
        for worker in workers:
            worker.stdin.write(pickle.dumps(report))
            worker.stdin.flush()
            assert worker.stdout.readline() == b"ready\n"
        for worker in workers:
            worker.stdin.close()
        assert [worker.wait(timeout=60) for worker in workers] == [0, 0, 0]
        for worker in workers:
            worker.stdout.close()
    assert monitor.counts == {"listed": 6000, "x" * 300: 6000}


def test_half_a_line_is_waited_for(monitor, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with reports.through_file(monitor):
        (path,) = tmp_path.iterdir()
        with open(path, "a") as file:
            file.write('{"counts": {"lis')
            file.flush()
            time.sleep(3 * reports._POLL_SECONDS)
            assert not monitor.counts
            file.write('ted": 7}}\n')
    assert monitor.counts == {"listed": 7}
    assert not list(tmp_path.iterdir())


def test_a_report_after_the_end_is_lost_and_leaves_nothing(monitor, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with reports.through_file(monitor) as report:
        pass
    report({"counts": {"listed": 1}})
    assert not list(tmp_path.iterdir())


def test_an_error_in_the_program_keeps_its_traceback(folder, tmp_path, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(graph, "write_shard", broken)
    with pytest.raises(ZeroDivisionError, match="a mistake of ours"):
        build_coco(folder, tmp_path / "records")
