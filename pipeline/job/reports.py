"""How far a job is: workers report counts, the submitter sums them up and shows a bar."""

import contextlib
import functools
import json
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

from cli.progress import bar

_FLUSH_SECONDS = 0.5
_POLL_SECONDS = 0.25
# Takes a worker's counts to the submitter; it travels to the workers with the job.
Report = Callable[[dict[str, int]], None]


class Progress:
    """A worker's end. Counts are additive: total, listed, rejected; kept_shards, kept_images.

    Call arguments:
        report: where the counts go; None: nowhere.
    """

    def __init__(self, report: Report | None):
        self._report = report
        self._counts: Counter[str] = Counter()
        self._flushed = time.monotonic()

    def add(self, **counts: int) -> None:
        """Count; what was counted is reported about twice a second, and by `flush`."""
        for name, count in counts.items():
            self._counts[name] += count
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Report what was counted since."""
        if self._report and self._counts:
            self._report(dict(self._counts))
        self._counts.clear()
        self._flushed = time.monotonic()


class Total:
    """The submitter's end: `counts`, their sums, in a bar that is redrawn on a terminal, a line now
    and then elsewhere."""

    def __init__(self):
        self.counts: Counter[str] = Counter()
        self._bar = bar(0, "writing", "images")

    def add(self, counts: dict[str, int]) -> None:
        """Take a worker's report."""
        self.counts.update(counts)
        self._bar.total = self.counts["total"]
        self._bar.set_postfix(rejected=self.counts["rejected"], refresh=False)
        # A shard that a dying worker began is counted once more by the one that takes it over.
        self._bar.update(min(self.counts["listed"], self._bar.total) - self._bar.n)

    def close(self) -> None:
        """End the bar."""
        self._bar.close()


@contextlib.contextmanager
def by_file(total: Total) -> Iterator[Report | None]:
    """A `Report` for workers on this machine: they append to one file, which is read into `total`
    until the block ends. None where there is no room for it."""
    try:
        handle, path = tempfile.mkstemp(prefix="build-records-progress-")
    except OSError:
        yield None
        return
    os.close(handle)
    stop = threading.Event()
    thread = threading.Thread(target=_poll, args=(path, total, stop), daemon=True)
    thread.start()
    try:
        yield functools.partial(_append, path)
    finally:
        stop.set()
        thread.join()
        os.remove(path)


def _append(path: str, counts: dict[str, int]) -> None:
    """One short write in append mode: lines of several processes do not mix.

    A failure to note progress never fails the job.
    """
    with contextlib.suppress(OSError):
        if os.path.exists(path):
            with open(path, "a") as file:
                file.write(json.dumps(counts) + "\n")


def _poll(path: str, total: Total, stop: threading.Event) -> None:
    with open(path) as file:
        while True:
            last = stop.wait(_POLL_SECONDS)
            for line in file:
                total.add(json.loads(line))
            if last:
                return
