"""Workers wait for each other before TensorFlow starts, which would wait without end or signal.

Until all are there, each listens on its own port and greets whoever connects. A worker that has met
all others closes the port, and TensorFlow opens it again: for those who are late, it answers.
"""

import contextlib
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator

from cli.errors import UserError
from trainer.workers.tf_config import Task

WAIT_SECONDS = 600  # after which a worker gives up
TELL_SECONDS = 30  # between two lines about those who are missing
_POLL_SECONDS = 0.5
_ANSWER_SECONDS = 2.0
_GREETING = "captioner"


def meet(task: Task) -> None:
    """Wait until every worker of the cluster has answered; a signal ends the wait at once.

    Args:
        task: This worker.

    Raises:
        UserError: A worker did not answer in time, or answered as another one; or this worker's
            port is taken.
    """
    me = f"worker {task.worker} of {task.workers}"
    missing = dict(enumerate(task.addresses))
    nonce = uuid.uuid4().hex
    with _greeting(task, f"{_GREETING} {task.worker} {task.workers} {nonce}\n"):
        # Whoever answers at this worker's own address must be this process.
        _check(_ask(missing.pop(task.worker)), task, task.worker, nonce)
        began = told = time.monotonic()
        minutes = f"{WAIT_SECONDS / 60:.3g} minutes"
        print(f"{me}: waiting for the others, for up to {minutes}", file=sys.stderr)
        while True:
            for number, address in list(missing.items()):
                answer = _ask(address)
                if answer is not None:
                    _check(answer, task, number)
                    del missing[number]
            if not missing:
                return
            now = time.monotonic()
            if now - began > WAIT_SECONDS:
                raise UserError(
                    f"{me}: no answer from {_names(missing)} within {minutes};"
                    " start all workers, with their addresses in TF_CONFIG, and open their ports"
                )
            if now - told > TELL_SECONDS:
                told = now
                print(f"{me}: still waiting for {_names(missing)}", file=sys.stderr)
            time.sleep(_POLL_SECONDS)


def _names(missing: dict[int, str]) -> str:
    return ", ".join(f"worker {number} at {address}" for number, address in missing.items())


@contextlib.contextmanager
def _greeting(task: Task, greeting: str) -> Iterator[None]:
    """Greet whoever connects to this worker's port while the block runs."""
    port = int(task.addresses[task.worker].rpartition(":")[2])
    with socket.socket() as listener:
        # A port that was closed a moment ago is free; one that another process listens on is not.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port))
            listener.listen()
        except OSError as error:
            raise UserError(
                f"worker {task.worker}: cannot listen on port {port} ({error.strerror}); is this"
                f" worker running already, or is this machine not {task.addresses[task.worker]}?"
            ) from None

        def greet() -> None:
            with contextlib.suppress(OSError):  # The listener is closed.
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.sendall(greeting.encode())

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # ends the thread's `accept`
            thread.join()


def _ask(address: str) -> list[str] | None:
    """Return the words that a worker greets with; [] from TensorFlow; None without an answer."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS) as connection:
            with contextlib.suppress(OSError):
                words = connection.recv(200).decode(errors="replace").split()
                return words[1:] if words[:1] == [_GREETING] else []
            return []
    except OSError:
        return None


def _check(answer: list[str] | None, task: Task, number: int, nonce: str = "") -> None:
    """Refuse the answer of a worker that is not the one that TF_CONFIG lists there.

    Args:
        answer: What `_ask` returned.
        task: This worker.
        number: Whose address was asked.
        nonce: What this process greets with, where it asked itself.
    """
    if not answer:
        return
    where = f"TF_CONFIG lists worker {number} of {task.workers} at {task.addresses[number]}"
    if answer[:2] != [str(number), str(task.workers)]:
        raise UserError(
            f"worker {task.worker}: {where}, and worker {answer[0]} of {answer[1]} answers there;"
            " give every worker the same cluster and its own index"
        )
    if nonce and answer[2:] != [nonce]:
        raise UserError(
            f"worker {task.worker}: {where}, and another process answers there; give every worker"
            " its own index"
        )
