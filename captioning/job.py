"""The batch evaluation: every image of a list captioned once, on every device there is.

Parts of the list are dealt to the devices as they become free, and written as they are done. What
is there already is left out, so that the same command goes on where it was killed; of jobs that
share the parts by --shard the last one finds all of them.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import tensorflow as tf

from artifacts import weights
from captioning import devices
from captioning.parts import Part, PartsFolder, Result, differences
from captioning.replica import Batches, Pictures, Replica
from cli.errors import UserError
from cli.progress import bar


class Options(NamedTuple):
    """How an evaluation is done.

    Attributes:
        search: values of the flags of the search, `n_best` among them: they decide what is said.
        encoder_batch_size, decode_batch_size: None: what suits the device.
        shard: (i, n): only every n-th part, from the i-th on, counted from 1.
    """

    search: Mapping[str, Any]
    encoder_batch_size: int | None = None
    decode_batch_size: int | None = None
    shard: tuple[int, int] = (1, 1)


class Captions(NamedTuple):
    """What an evaluation has found so far.

    Attributes:
        folder: the parts on disk.
        parts: all parts, of every shard.
        own: those of this shard.
        missing: those of other shards that are not done.
    """

    folder: PartsFolder
    parts: list[Part]
    own: list[Part]
    missing: list[Part]

    def results(self) -> Iterator[Result]:
        """`PartsFolder.results` of all parts."""
        return self.folder.results(self.parts)


def caption(
    run_dirs: Sequence[str], pictures: Pictures, output_dir: str, options: Options
) -> Captions:
    """Caption what is not captioned yet.

    Raises:
        UserError: a record is damaged, the output cannot be written, or a GPU's memory is short.
        RunError: a run cannot be used.
    """
    digests = [weights.digest(run_dir) for run_dir in run_dirs]
    folder = PartsFolder(output_dir, {"weights": digests, **options.search})
    index, count = options.shard
    own = pictures.parts[index - 1 :: count]
    todo = folder.missing(own)
    _say_where_it_stands(folder, own, todo, {"weights": digests, **options.search})
    if todo:
        places = devices.devices()
        replicas = [Replica(place, run_dirs, pictures, options.search) for place in places]
        if digests != [weights.digest(run_dir) for run_dir in run_dirs]:
            raise UserError(f"{run_dirs[0]}: the weights were replaced just now; run again")
        for note in replicas[0].notes:
            print(f"weights of epoch {note['epoch']}, step {note['step']:,}")
        batches = _batches(replicas[0], places, options, max(part.images for part in todo))
        _caption_parts(replicas, batches, todo, _total(own), folder)
    return Captions(folder, pictures.parts, own, folder.missing(pictures.parts))


def _say_where_it_stands(
    folder: PartsFolder, own: list[Part], todo: list[Part], job: Mapping[str, Any]
) -> None:
    if folder.earlier:
        print(
            f"starting anew: {differences(job, folder.earlier)};"
            f" what was captioned before stays in {os.path.dirname(folder.path)}"
        )
    if done := _total(own) - _total(todo):
        print(f"{done:,} of {_total(own):,} images are captioned already")


def _total(parts: Sequence[Part]) -> int:
    return sum(part.images for part in parts)


def _batches(replica: Replica, places: Sequence[str], options: Options, most: int) -> Batches:
    """The batch sizes, as given or found, and a line about them."""
    gpu = devices.on_gpu(places[0])
    encoder, decode = options.encoder_batch_size, options.decode_batch_size
    if gpu:
        encoder = encoder or devices.largest_useful(replica.encode_blank, most)
        decode = decode or devices.largest_useful(replica.say_noise, most)
    batches = Batches(
        min(encoder or devices.CPU_ENCODER_BATCH, most),
        min(decode or devices.CPU_DECODE_BATCH, most),
    )
    many = f"{len(places)} GPUs" if len(places) > 1 else "one GPU"
    where = f"captioning on {many} in bfloat16" if gpu else "no GPU: captioning on the CPU"
    sizes = f"encoder batch {batches.encoder}, " if replica.encodes else "features as stored, "
    print(f"{where}; {sizes}decode batch {batches.decode}", flush=True)
    return batches


def _caption_parts(
    replicas: Sequence[Replica],
    batches: Batches,
    todo: list[Part],
    total: int,
    folder: PartsFolder,
) -> None:
    """Each device takes the next part when it is done with one."""
    stopped = threading.Event()
    queue = _shared(todo, stopped)
    with (
        bar(total, "captioning", "img", initial=total - _total(todo)) as progress,
        ThreadPoolExecutor(len(os.sched_getaffinity(0))) as decoders,
        ThreadPoolExecutor(len(replicas)) as workers,
    ):
        advance = _counter(progress, stopped)

        def work(replica: Replica) -> None:
            for part, lines in replica.captions(queue, batches, decoders, advance):
                folder.write(part, lines)

        try:
            futures = [workers.submit(work, replica) for replica in replicas]
            for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                future.result()
        except tf.errors.ResourceExhaustedError:
            raise UserError(
                f"out of memory with batches of {batches.encoder} (encoder) and {batches.decode}"
                " (search); give a smaller --encoder_batch_size or --decode_batch_size"
            ) from None
        finally:
            stopped.set()


def _shared(todo: list[Part], stopped: threading.Event) -> Iterator[Part]:
    """The parts, for several threads, until `stopped` is set."""
    lock, parts = threading.Lock(), iter(todo)

    def take() -> Part | None:
        with lock:
            return None if stopped.is_set() else next(parts, None)

    return iter(take, None)


class _StoppedError(Exception):
    """Another device failed, or the user interrupted: nothing more is worth doing."""


def _counter(progress, stopped: threading.Event) -> Callable[[int, int], None]:
    lock, rejected = threading.Lock(), 0

    def advance(captioned: int, refused: int) -> None:
        nonlocal rejected
        if stopped.is_set():
            raise _StoppedError
        with lock:
            rejected += refused
            if rejected:
                progress.set_postfix(rejected=rejected, refresh=False)
            progress.update(captioned + refused)

    return advance
