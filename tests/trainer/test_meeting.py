"""Workers that wait for each other: until all are there, a time is over, or a signal comes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from cli.errors import UserError
from tests.support.commands import ROOT, users_environment
from trainer.workers import meeting
from trainer.workers.tf_config import Task

_WORKER = """
import socket, sys, time
from trainer.workers import meeting
from trainer.workers.tf_config import Task
meeting.TELL_SECONDS = 0.2
index, *addresses = sys.argv[1:]
meeting.meet(Task(int(index), tuple(addresses)))
# Then TensorFlow listens there, and does not greet.
server = socket.create_server(("", int(addresses[int(index)].split(":")[1])))
print("met", flush=True)
while True:
    server.accept()
"""
_TRAINER = [sys.executable, "-m", "trainer.main", "--records_dir=none", "--run_dir"]


def free_addresses(count: int) -> tuple[str, ...]:
    sockets = [socket.socket() for _ in range(count)]
    for listener in sockets:
        listener.bind(("127.0.0.1", 0))
    addresses = tuple(f"127.0.0.1:{listener.getsockname()[1]}" for listener in sockets)
    for listener in sockets:
        listener.close()
    return addresses


@pytest.fixture
def start():
    """Return a function that starts a worker as a process."""
    started = []

    def worker(index: int, addresses) -> subprocess.Popen:
        command = [sys.executable, "-c", _WORKER, str(index), *addresses]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, cwd=ROOT, text=True, **pipes))
        return started[-1]

    yield worker
    for process in started:
        process.kill()
        process.wait()


def test_workers_that_start_one_after_the_other_all_meet(start):
    addresses = free_addresses(3)
    first = start(0, addresses)
    assert "worker 0 of 3: waiting for the others" in first.stderr.readline()
    told = first.stderr.readline()
    second = start(1, addresses)
    assert f"still waiting for worker 1 at {addresses[1]}, worker 2 at {addresses[2]}" in told
    while f"still waiting for worker 2 at {addresses[2]}\n" not in first.stderr.readline():
        pass
    third = start(2, addresses)
    assert [process.stdout.readline() for process in (first, second, third)] == ["met\n"] * 3


def test_a_worker_that_never_answers_is_named_when_the_time_is_over(monkeypatch, capsys):
    monkeypatch.setattr(meeting, "WAIT_SECONDS", 0.6)
    addresses = free_addresses(2)
    began = time.monotonic()
    with pytest.raises(UserError) as refused:
        meeting.meet(Task(0, addresses))
    assert time.monotonic() - began < 30
    assert str(refused.value).startswith(
        f"worker 0 of 2: no answer from worker 1 at {addresses[1]} within 0.01 minutes; start all"
    )
    assert "for up to 0.01 minutes" in capsys.readouterr().err
    socket.create_server(("", int(addresses[0].split(":")[1]))).close()  # the port is free again


def test_a_port_that_is_in_use_is_a_line():
    addresses = free_addresses(2)
    with socket.socket() as listener:
        listener.bind(("", int(addresses[0].split(":")[1])))
        listener.listen()
        with pytest.raises(
            UserError, match=r"cannot listen on port \d+ \(Address already in use\)"
        ):
            meeting.meet(Task(0, addresses))


def test_another_index_than_ones_own_is_a_line(start):
    one, two = free_addresses(2)
    process = start(0, (one, two))
    assert "waiting" in process.stderr.readline()
    # This process stands for another machine: its port is its own, the address is the first's.
    with pytest.raises(UserError, match=f"lists worker 0 of 2 at {one}, and another process"):
        meeting._check(meeting._ask(one), Task(0, (one, two)), 0, "another nonce")
    for task, number in ((Task(0, (two, one)), 1), (Task(1, (one, two, "h:1")), 0)):
        with pytest.raises(UserError, match=f"at {one}, and worker 0 of 2 answers there"):
            meeting._check(meeting._ask(one), task, number)


def test_what_is_no_worker_of_ours_counts_as_there():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        meeting._check(
            meeting._ask(f"127.0.0.1:{listener.getsockname()[1]}"), Task(1, ("h:1", "h:2")), 0
        )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
@pytest.mark.parametrize("index", [0, 1])
def test_a_signal_ends_the_wait_of_the_command(tmp_path, number, code, index, monkeypatch, capsys):
    from tests.support.training import train

    addresses = free_addresses(2)
    cluster = {"worker": addresses}
    tf_config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
    monkeypatch.setenv("TF_CONFIG", tf_config)
    ask = meeting._ask

    def ask_and_signal(address):
        if address == addresses[1 - index]:
            os.kill(os.getpid(), number)
        return ask(address)

    monkeypatch.setattr(meeting, "_ask", ask_and_signal)
    assert train(records_dir="none", run_dir=tmp_path / "run") == code
    waiting, line = capsys.readouterr().err.splitlines()
    assert "waiting for the others, for up to 10 minutes" in waiting
    assert "nothing is lost" in line
    assert os.listdir(tmp_path) == []


def test_a_signal_ends_the_process_of_a_command_that_waits(tmp_path):
    cluster = {"worker": free_addresses(2)}
    tf_config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}})
    process = subprocess.Popen(
        [*_TRAINER, str(tmp_path / "run")],
        cwd=ROOT,
        env=users_environment() | {"TF_CONFIG": tf_config},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert "waiting for the others, for up to 10 minutes" in process.stderr.readline()
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == 75
    finally:
        process.kill()
        process.wait()
    (line,) = process.stderr.read().splitlines()
    assert "nothing is lost" in line
    assert os.listdir(tmp_path) == []
