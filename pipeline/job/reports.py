"""What workers report to the submitter while the job runs: their progress, and why it failed.

A report is a message in JSON's types, `{"counts": {name: number}}` or
`{"failure": {"exit_code": number, "message": text}}`. How it travels depends on the engine: on this
machine through a file, on Dask as an event of the cluster. Other engines have no way back.
"""

import contextlib
import functools
import json
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from cli.errors import UsageError, UserError
from cli.progress import bar

_FLUSH_SECONDS = 0.5
_POLL_SECONDS = 0.25
Message = dict[str, Any]
# Takes a message to the submitter; it travels to the workers with the job.
Report = Callable[[Message], None]


class Progress:
    """The counts of a worker, on their way to the submitter.

    All counts are additive: total, listed, rejected, kept_shards, kept_images.

    Args:
        report: Where the counts go; None for nowhere.
    """

    def __init__(self, report: Report | None):
        self._report = report
        self._counts: Counter[str] = Counter()
        self._flushed = time.monotonic()

    def add(self, **counts: int) -> None:
        """Count; the sums are reported about twice a second, and by `flush`."""
        for name, count in counts.items():
            self._counts[name] += count
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Report what was counted since the last report."""
        if self._report and self._counts:
            self._report({"counts": dict(self._counts)})
        self._counts.clear()
        self._flushed = time.monotonic()


def failure(error: UserError) -> Message:
    """Return the message that tells the submitter why the job failed."""
    return {"failure": {"exit_code": error.exit_code, "message": str(error)}}


class Monitor:
    """The submitter's end: it sums up the counts, shows them in a bar, and keeps the failure.

    Attributes:
        counts: Sums of all workers' counts.
        failure: The first failure that was reported; None while there is none.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.failure: UserError | None = None
        self._bar = bar(0, "writing", "images")

    def receive(self, message: Message) -> None:
        """Take a worker's message."""
        if "failure" in message:
            content = message["failure"]
            usage = content["exit_code"] == UsageError.exit_code
            self.fail((UsageError if usage else UserError)(content["message"]))
        else:
            self._add(message["counts"])

    def fail(self, error: UserError) -> None:
        """Keep `error` as the failure of the job, unless there was one before."""
        self.failure = self.failure or error

    def _add(self, counts: dict[str, int]) -> None:
        self.counts.update(counts)
        self._bar.total = self.counts["total"]
        self._bar.set_postfix(rejected=self.counts["rejected"], refresh=False)
        # When a worker dies, another one counts the images of its shard again.
        self._bar.update(min(self.counts["listed"], self._bar.total) - self._bar.n)

    def close(self) -> None:
        """End the bar."""
        self._bar.close()


@contextlib.contextmanager
def through_file(monitor: Monitor) -> Iterator[Report]:
    """Yield a `Report` for workers on this machine, which takes messages to `monitor`.

    Workers append to one file, which a thread reads. When the block has ended, `monitor` has
    received every message.

    Raises:
        UserError: There is no place for temporary files.
    """
    try:
        handle, path = tempfile.mkstemp(prefix="build-records-reports-")
    except OSError as error:
        raise no_temporary_files(error) from None
    os.close(handle)
    stop = threading.Event()
    thread = threading.Thread(target=_poll, args=(path, monitor, stop), daemon=True)
    thread.start()
    try:
        yield functools.partial(_append, path)
    finally:
        stop.set()
        thread.join()
        os.remove(path)


def no_temporary_files(error: OSError) -> UserError:
    """Return what to tell the user when a temporary file cannot be made."""
    return UserError(f"no temporary files can be made: {error}; TMPDIR names the place")


def _append(path: str, message: Message) -> None:
    """Append a line in one write, so that lines of several processes do not mix.

    A report that cannot be written never fails the job.
    """
    with contextlib.suppress(OSError):
        # Without O_CREAT: a worker that outlives the job must not leave a file behind.
        handle = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(handle, json.dumps(message).encode() + b"\n")
        finally:
            os.close(handle)


def _poll(path: str, monitor: Monitor, stop: threading.Event) -> None:
    line = ""
    with open(path) as file:
        while True:
            stopped = stop.wait(_POLL_SECONDS)
            while text := file.readline():
                line += text  # A line may still be on its way into the file.
                if line.endswith("\n"):
                    monitor.receive(json.loads(line))
                    line = ""
            if stopped:
                return
