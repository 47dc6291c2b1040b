"""Progress on engines whose workers cannot report: the sidecars in the output directory.

A sidecar is written when its shard is finished, whatever machine wrote it, and its name says how
many shards its split has.
"""

import contextlib
import posixpath
import sys
import threading
import time
from collections import Counter, defaultdict
from types import TracebackType

from cli.errors import UserError
from cli.progress import bar
from pipeline.storage import files
from records import shard_files
from records.shard_files import Sidecar

_POLL_SECONDS = 2
_PATIENCE_SECONDS = 60
_WAITING = (
    "no shard is finished after a minute: if the job waits for workers or slots, the engine's page"
    " says so"
)


class ShardWatch:
    """Shows how many shards are finished, while its `with` block runs.

    Args:
        output_dir: Directory that the job writes to.
    """

    def __init__(self, output_dir: str):
        self._output_dir = output_dir
        self._before = {name: self._read(name) for name in self._sidecars()}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> "ShardWatch":
        self._bar, self._stderr = bar(0, "writing", "shards"), sys.stderr
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._bar.close()

    def kept(self) -> Counter[str]:
        """Return the counts of the shards that were finished before: kept_shards, kept_images.

        Call it when the job is done.
        """
        counts: Counter[str] = Counter()
        for name, content in self._before.items():
            if content is not None and self._read(name) == content:
                shard = Sidecar.from_bytes(content, name).shard
                counts.update(kept_shards=1, kept_images=shard.images)
        return counts

    def _poll(self) -> None:
        stopped, noted = False, False
        started = time.monotonic()
        while not stopped:
            stopped = self._stop.wait(_POLL_SECONDS)
            if not (noted or self._bar.n) and time.monotonic() - started > _PATIENCE_SECONDS:
                self._bar.write(_WAITING, file=self._stderr)
                noted = True
            with contextlib.suppress(UserError):  # The job itself tells what is wrong there.
                self._show(self._sidecars())

    def _show(self, sidecars: list[str]) -> None:
        counts: dict[str, set[int]] = defaultdict(set)
        for name in sidecars:
            if parsed := shard_files.parse_shard_name(name.removesuffix(".json")):
                split, _, count = parsed
                counts[split].add(count)
        # Shards of an earlier build, which had other numbers of them, lie there to the end.
        if all(len(of_split) == 1 for of_split in counts.values()):
            self._bar.total = sum(min(of_split) for of_split in counts.values())
            self._bar.update(len(sidecars) - self._bar.n)

    def _sidecars(self) -> list[str]:
        return [
            name
            for name in files.names(self._output_dir)
            if name.endswith(".json") and shard_files.parse_shard_name(name.removesuffix(".json"))
        ]

    def _read(self, name: str) -> bytes | None:
        return files.read(posixpath.join(self._output_dir, name))
