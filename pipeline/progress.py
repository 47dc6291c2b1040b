"""How far a local job is: workers append counts to one file, the submitter sums them up."""

import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator

from tqdm import tqdm

_FLUSH_SECONDS = 0.5
_POLL_SECONDS = 0.25


class Progress:
    """A worker's end. Counts are additive: listed, rejected, kept_shards, written_shards, total.

    A failure to note progress never fails the job.
    """

    def __init__(self, path: str | None):
        self._path = path
        self._counts: Counter[str] = Counter()
        self._flushed = time.monotonic()

    def add(self, **counts: int) -> None:
        """Count; what was counted is written about twice a second, and by `flush`."""
        self._counts.update(counts)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what was counted since."""
        line = json.dumps(self._counts) + "\n"
        # One short write in append mode: lines of several processes do not mix.
        if self._path and self._counts and os.path.exists(self._path):
            with contextlib.suppress(OSError), open(self._path, "a") as file:
                file.write(line)
        self._counts.clear()
        self._flushed = time.monotonic()


@contextlib.contextmanager
def shown() -> Iterator[tuple[str, Counter[str]]]:
    """Show a bar while the block runs.

    Gives (the path for the workers' `Progress`, the sums, complete when the block has ended).
    """
    counts: Counter[str] = Counter()
    handle, path = tempfile.mkstemp(prefix="build-records-progress-")
    os.close(handle)
    stop = threading.Event()
    interval = 0.2 if sys.stderr.isatty() else 10
    bar = tqdm(total=0, unit=" images", mininterval=interval, dynamic_ncols=True, smoothing=0.05)
    thread = threading.Thread(target=_poll, args=(path, counts, bar, stop), daemon=True)
    thread.start()
    try:
        yield path, counts
    finally:
        stop.set()
        thread.join()
        bar.close()
        os.remove(path)


def _poll(path: str, counts: Counter[str], bar: tqdm, stop: threading.Event) -> None:
    with open(path) as file:
        while True:
            last = stop.wait(_POLL_SECONDS)
            for line in file:
                counts.update(json.loads(line))
            bar.total = counts["total"]
            bar.set_postfix(rejected=counts["rejected"], refresh=False)
            bar.update(counts["listed"] - bar.n)
            if last:
                return
