"""The captioning job: every image of a source captioned once, on every device.

Devices take parts of the source as they become free and write them as they are done. Parts that are
already on disk are skipped, so a killed job continues where it stopped. When several jobs share the
parts through --shard, the last one to finish sees all of them.
"""

import dataclasses
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from itertools import groupby
from typing import Any, NamedTuple

import tensorflow as tf
from tqdm import tqdm

from artifacts import restore
from artifacts.run_config import RunConfig
from artifacts.run_folder import RunFolder
from captioning import devices
from captioning.parts import PartsFolder, Result, differences, line
from captioning.replica import BatchSizes, Outcome, Replica, Wanted
from captioning.search_options import BeamSearch, Search
from captioning.source import ImageSource, Part
from cli.errors import UserError
from cli.progress import bar


@dataclasses.dataclass(frozen=True)
class JobOptions:
    """How a job captions.

    Attributes:
        search: How to search; it decides the captions.
        encoder_batch_size: Images encoded together; None takes what suits the device.
        search_batch_size: Images searched together; None takes what suits the device.
        shard: (i, n): caption only every n-th part, from the i-th one on, counted from 1.
        precision: Of the matrix products; None takes what suits the device and the training.
    """

    search: BeamSearch
    encoder_batch_size: int | None = None
    search_batch_size: int | None = None
    shard: tuple[int, int] = (1, 1)
    precision: str | None = None


class JobState(NamedTuple):
    """How far a job has come.

    Attributes:
        folder: The parts on disk.
        parts: The parts of every shard.
        own: The parts of this shard.
        missing: The parts of other shards that are not done.
    """

    folder: PartsFolder
    parts: Sequence[Part]
    own: Sequence[Part]
    missing: Sequence[Part]

    def results(self) -> Iterator[Result]:
        """Yield the captions of all parts."""
        return self.folder.results(self.parts)

    def computed(self) -> dict[str, Any]:
        """Return in which precision and on which kinds of devices the captions were computed.

        Returns:
            `precision`, and `devices`: `CPU`, `GPU`, both, or none where an earlier version
            captioned.
        """
        precision = devices.in_words(self.folder.precisions)
        return {"precision": precision, "devices": self.folder.devices()}

    def print_cut(self, search: BeamSearch) -> int:
        """Print how many captions --max_words has cut, if any, and return the number."""
        cut = [entry.get("cut", False) for entry in self.folder.captioned(self.parts)]
        if any(cut):
            print(
                f"{sum(cut):,} of {len(cut):,} captions were cut at {search.max_words} words;"
                " --max_words=N allows more"
            )
        return sum(cut)


def caption(
    run_dirs: Sequence[str], source: ImageSource, output_dir: str, options: JobOptions
) -> JobState:
    """Caption the images of a source that are not captioned yet.

    Args:
        run_dirs: The runs whose captioners caption together.
        source: The images.
        output_dir: Where the parts go.
        options: How to caption.

    Returns:
        How far the job has come: all parts of this shard are done.

    Raises:
        UserError: A run cannot be used, a record is damaged, the output cannot be written, or a
            GPU's memory is short.
    """
    devices.forbid_tf32(options.precision)
    digests = [restore.digest(run_dir) for run_dir in run_dirs]
    names = devices.devices()
    precisions = [_precision(names[0], run_dir, options.precision) for run_dir in run_dirs]
    job = {"weights": digests, "precision": precisions, **dataclasses.asdict(options.search)}
    folder = PartsFolder(output_dir, job)
    index, count = options.shard
    own = source.parts[index - 1 :: count]
    todo = folder.missing(own)
    _print_progress_so_far(folder, own, todo, job)
    if todo:
        replicas = [
            Replica(name, run_dirs, source, options.search, Wanted(), options.precision)
            for name in names
        ]
        if digests != [restore.digest(run_dir) for run_dir in run_dirs]:
            raise UserError(f"{run_dirs[0]}: the weights were replaced just now; run again")
        for restored in replicas[0].restored:
            print(f"weights of epoch {restored.note['epoch']}, step {restored.note['step']:,}")
        sizes = _batch_sizes(replicas[0], names, options, max(part.images for part in todo))
        folder.note_device(devices.kind(names[0]))
        _caption_parts(replicas, sizes, todo, _count_images(own), folder, options.search.n_best)
    return JobState(folder, source.parts, own, folder.missing(source.parts))


def caption_at_once(
    run_dirs: Sequence[str],
    source: ImageSource,
    search: Search,
    wanted: Wanted,
    say: Callable[[str], object] = lambda line: None,
    precision: str | None = None,
) -> Iterator[Outcome]:
    """Caption the images of a source on one device, keeping nothing on disk.

    Args:
        run_dirs: The runs whose captioners caption together.
        source: The images.
        search: How to search.
        wanted: What to return beside the captions.
        say: Takes a line about the device and its precision.
        precision: As in `JobOptions`.

    Yields:
        The outcome of each image, part by part.

    Raises:
        UserError: A run cannot be used, or a record is damaged.
    """
    devices.forbid_tf32(precision)
    device = devices.devices()[0]
    replica = Replica(device, run_dirs, source, search, wanted, precision)
    say(devices.remark([device], replica.precisions))
    most = max(part.images for part in source.parts)
    sizes = BatchSizes(min(devices.CPU_ENCODER_BATCH, most), min(devices.CPU_SEARCH_BATCH, most))
    with ThreadPoolExecutor(_cores()) as pool:
        yield from replica.outcomes(iter(source.parts), sizes, pool)


def _precision(device: str, run_dir: str, chosen: str | None) -> str:
    """Return the precision in which a run captions on a device."""
    trained = RunConfig.read(RunFolder(run_dir)).model.decoder.precision
    return devices.precision(device, chosen) or trained


def _print_progress_so_far(
    folder: PartsFolder, own: Sequence[Part], todo: Sequence[Part], job: Mapping[str, Any]
) -> None:
    if folder.earlier:
        print(
            f"starting anew: {differences(job, folder.earlier)};"
            f" earlier captions stay in {os.path.dirname(folder.path)}"
        )
    if done := _count_images(own) - _count_images(todo):
        precision = devices.in_words(job["precision"])
        print(f"{done:,} of {_count_images(own):,} images are captioned already, in {precision}")


def _count_images(parts: Sequence[Part]) -> int:
    return sum(part.images for part in parts)


def _batch_sizes(
    replica: Replica, names: Sequence[str], options: JobOptions, most: int
) -> BatchSizes:
    """Return the batch sizes, as given or measured, and print a line about them."""
    gpu = devices.on_gpu(names[0])
    encoder, search = options.encoder_batch_size, options.search_batch_size
    if gpu:
        encoder = encoder or devices.largest_useful(replica.encode_blank, most)
        search = search or devices.largest_useful(replica.caption_noise, most)
    sizes = BatchSizes(
        min(encoder or devices.CPU_ENCODER_BATCH, most),
        min(search or devices.CPU_SEARCH_BATCH, most),
    )
    where = devices.remark(names, replica.precisions)
    encoding = f"encoder batch {sizes.encoder}, " if replica.encodes else "features as stored, "
    print(f"{where}; {encoding}decode batch {sizes.search}", flush=True)
    return sizes


def _caption_parts(
    replicas: Sequence[Replica],
    sizes: BatchSizes,
    todo: Sequence[Part],
    total: int,
    folder: PartsFolder,
    n_best: int,
) -> None:
    """Let each device take the next part when it is done with one."""
    stopped = threading.Event()
    queue = _shared_queue(todo, stopped)
    with (
        bar(total, "captioning", "img", initial=total - _count_images(todo)) as progress,
        ThreadPoolExecutor(_cores()) as decoders,
        ThreadPoolExecutor(len(replicas)) as workers,
    ):
        counter = _Counter(progress, stopped)

        def work(replica: Replica) -> None:
            outcomes = replica.outcomes(queue, sizes, decoders)
            for part, of_part in groupby(outcomes, lambda outcome: outcome.part):
                lines = {}
                for outcome in of_part:
                    lines[outcome.place] = line(outcome, n_best)
                    counter.count(outcome)
                folder.write(part, [lines[place] for place in range(part.images)])

        try:
            futures = [workers.submit(work, replica) for replica in replicas]
            for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                future.result()
        except tf.errors.ResourceExhaustedError:
            raise UserError(
                f"out of memory with batches of {sizes.encoder} (encoder) and {sizes.search}"
                " (search); give a smaller --encoder_batch_size or --decode_batch_size"
            ) from None
        finally:
            stopped.set()


def _shared_queue(todo: Sequence[Part], stopped: threading.Event) -> Iterator[Part]:
    """Return an iterator over parts for several threads; it ends when `stopped` is set."""
    lock, parts = threading.Lock(), iter(todo)

    def take() -> Part | None:
        with lock:
            return None if stopped.is_set() else next(parts, None)

    return iter(take, None)


class _StoppedError(Exception):
    """Another device failed, or the user interrupted: more work would be lost."""


class _Counter:
    """Counts images for the progress bar, from several threads."""

    def __init__(self, progress: tqdm, stopped: threading.Event):
        self._progress, self._stopped = progress, stopped
        self._lock, self._rejected = threading.Lock(), 0

    def count(self, outcome: Outcome) -> None:
        """Count an image.

        Raises:
            _StoppedError: The work is to end.
        """
        if self._stopped.is_set():
            raise _StoppedError
        with self._lock:
            if outcome.problem is not None:
                self._rejected += 1
                self._progress.set_postfix(rejected=self._rejected, refresh=False)
            self._progress.update()


def _cores() -> int:
    return len(os.sched_getaffinity(0))
