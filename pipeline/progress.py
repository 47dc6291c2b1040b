"""How far a local job is: workers append counts to one file, the submitter sums them up."""

import contextlib
import json
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator

from tqdm import tqdm

from records.progress import bar

_FLUSH_SECONDS = 0.5
_POLL_SECONDS = 0.25


class Progress:
    """A worker's end. Counts are additive: total, listed, rejected; kept_shards, kept_images.

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
def shown(local: bool = True) -> Iterator[tuple[str | None, Counter[str]]]:
    """Show a bar while the block runs: redrawn on a terminal, a line now and then elsewhere.

    Gives (the path for the workers' `Progress`, the sums, complete when the block has ended); None
    and nothing where the workers are not `local`.
    """
    counts: Counter[str] = Counter()
    if not local:
        yield None, counts
        return
    handle, path = tempfile.mkstemp(prefix="build-records-progress-")
    os.close(handle)
    stop = threading.Event()
    shown_bar = bar(0, "writing", "images")
    thread = threading.Thread(target=_poll, args=(path, counts, shown_bar, stop), daemon=True)
    thread.start()
    try:
        yield path, counts
    finally:
        stop.set()
        thread.join()
        shown_bar.close()
        os.remove(path)


def _poll(path: str, counts: Counter[str], shown_bar: tqdm, stop: threading.Event) -> None:
    with open(path) as file:
        while True:
            last = stop.wait(_POLL_SECONDS)
            for line in file:
                counts.update(json.loads(line))
            shown_bar.total = counts["total"]
            shown_bar.set_postfix(rejected=counts["rejected"], refresh=False)
            shown_bar.update(counts["listed"] - shown_bar.n)
            if last:
                return
