"""One process at a time in a folder, whatever ends it."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys

import pytest

from cli import process_lock
from cli.errors import UserError
from tests.support.commands import ROOT

_HOLDER = """
import sys, time
from cli.process_lock import only_process
with only_process(sys.argv[1], "training", "give another --run_dir", shared=len(sys.argv) > 2):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder():
    """Return a function that starts a process that holds the lock of a folder."""
    started = []

    def start(folder, *shared) -> subprocess.Popen:
        command = [sys.executable, "-c", _HOLDER, str(folder), *shared]
        started.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "held\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def only(folder, shared=False):
    return process_lock.only_process(str(folder), "training", "give another --run_dir", shared)


def test_a_second_process_is_refused_and_the_first_is_named(tmp_path, holder):
    process = holder(tmp_path)
    for shared in (False, True):
        with pytest.raises(UserError) as refused, only(tmp_path, shared):
            raise AssertionError("two processes hold the lock")
        assert str(refused.value) == (
            f"{tmp_path}: process {process.pid} on {socket.gethostname()} is training there; wait"
            " until it has ended, stop it, or give another --run_dir"
        )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_lock_ends_with_its_process(tmp_path, holder, number):
    process = holder(tmp_path)
    process.send_signal(number)
    process.wait()
    with only(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


def test_processes_that_share_the_lock_keep_others_out(tmp_path, holder):
    first, second = holder(tmp_path, "shared"), holder(tmp_path, "shared")
    first.send_signal(signal.SIGINT)  # it ends well, and must leave the file to the second
    first.wait()
    with pytest.raises(UserError, match=f"process {second.pid} on"), only(tmp_path):
        raise AssertionError("two processes hold the lock")


def test_a_folder_that_stays_empty_is_removed_again(tmp_path):
    with only(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / process_lock.LOCK).exists()
    assert os.listdir(tmp_path) == []
    with only(tmp_path / "a" / "b"):
        (tmp_path / "a" / "file").write_text("")
    assert os.listdir(tmp_path / "a") == ["file"]


def test_a_file_system_without_locks_is_told_once(tmp_path, monkeypatch, capsys):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    for _ in range(2):
        with only(tmp_path):
            pass
    assert capsys.readouterr().err == (
        f"warning: {tmp_path}: its file system has no locks (No locks available); make sure that no"
        " other process writes there\n"
    )


def test_a_folder_that_cannot_be_made_is_a_line(tmp_path):
    (tmp_path / "file").write_text("")
    cannot = r"file/run: cannot be written \(Not a directory\)"
    with pytest.raises(UserError, match=cannot), only(tmp_path / "file" / "run"):
        raise AssertionError("there is no folder")
