"""Images of many requests, computed together.

A picture first gets a place in the queue, which is bounded. It gives the place back when a batch
takes it, or when nobody waits for it any more. Everything but `Runtime.caption` runs on the event
loop, so nothing here needs a lock.
"""

import asyncio
import dataclasses
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from serving.bundle.runtime import Caption, Runtime
from serving.web import refusals
from serving.web.limits import Limits
from serving.web.logs import LOGGER
from serving.web.measurements import Measurements

Captions = list[Caption]


class Place:
    """A place in the queue for one image."""

    def __init__(self, batcher: "Batcher"):
        self._batcher: Batcher | None = batcher

    def release(self) -> None:
        """Give the place to another image. A second call does nothing."""
        if self._batcher is not None:
            self._batcher.waiting -= 1
            self._batcher = None


@dataclasses.dataclass(eq=False)
class _Waiting:
    """An image in the queue, and where its captions go."""

    pixels: np.ndarray
    place: Place
    captions: "asyncio.Future[Captions]"
    since: float = dataclasses.field(default_factory=time.perf_counter)


class Batcher:
    """The queue, and the workers that compute it in batches.

    Args:
        limits: Sizes of the queue and of a batch, and how long a batch waits to be filled.

    Attributes:
        waiting: Images that hold a place.
        measurements: Where it counts; it knows the length of the queue.
    """

    def __init__(self, limits: Limits):
        self.waiting = 0
        self.measurements = Measurements(lambda: self.waiting)
        self._limits = limits
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._workers: list[asyncio.Task[None]] = []
        self._computing: set[Future[list[Captions]]] = set()

    @property
    def full(self) -> bool:
        """Whether the queue has no place left."""
        return self.waiting >= self._limits.queue

    @property
    def computing(self) -> bool:
        """Whether the runtime is at work in a thread, which nothing can stop."""
        return any(work.running() for work in tuple(self._computing))

    @property
    def largest_batch(self) -> int:
        """How many images are computed together at most."""
        return self._sizes[-1]

    def start(self, runtime: Runtime) -> None:
        """Start the workers.

        Args:
            runtime: Computes captions; it takes `runtime.parallel` batches at once.
        """
        self._runtime = runtime
        self._sizes = batch_sizes(runtime, self._limits.batch)
        self._pool = ThreadPoolExecutor(runtime.parallel, "caption")
        self._workers = [asyncio.create_task(self._work()) for _ in range(runtime.parallel)]

    def stop(self) -> None:
        """Stop the workers. A batch that the runtime computes is not waited for."""
        for worker in self._workers:
            worker.cancel()
        if self._workers:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def admit(self, images: int) -> list[Place]:
        """Return places for all images of a request.

        Args:
            images: How many images it has.

        Raises:
            RefusalError: There are not enough places; none is taken.
        """
        if self.waiting + images > self._limits.queue:
            raise refusals.queue_full(self.waiting, self._limits.queue)
        self.waiting += images
        return [Place(self) for _ in range(images)]

    async def caption(self, pixels: np.ndarray, place: Place) -> Captions:
        """Return the captions of one image, computed with others.

        Args:
            pixels: float32 [S, S, 3].
            place: Its place in the queue, which it gives back when a batch takes it.

        Raises:
            RefusalError: The runtime fails on this image.
        """
        image = _Waiting(pixels, place, asyncio.get_running_loop().create_future())
        self._queue.append(image)
        self._arrived.set()
        try:
            return await image.captions
        except asyncio.CancelledError:
            if image in self._queue:
                self._queue.remove(image)
            raise

    async def _work(self) -> None:
        while True:
            batch = await self._next_batch()
            for image in batch:
                self.measurements.measure_stage("queue", time.perf_counter() - image.since)
            self.measurements.measure_batch(len(batch))
            await self._answer(batch)

    async def _next_batch(self) -> list[_Waiting]:
        """Wait for images and take as many as one batch may have."""
        most = self.largest_batch
        while True:
            while not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
            if self._limits.wait_s:
                await self._wait_for_more(most)
            batch = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
            for image in batch:
                image.place.release()
            if batch:  # Another worker, or a client that went, may have emptied the queue.
                return batch

    async def _wait_for_more(self, most: int) -> None:
        late = self._queue[0].since + self._limits.wait_s
        while 0 < len(self._queue) < most and (left := late - time.perf_counter()) > 0:
            self._arrived.clear()
            try:
                async with asyncio.timeout(left):
                    await self._arrived.wait()
            except TimeoutError:
                return

    async def _answer(self, batch: list[_Waiting]) -> None:
        """Compute a batch. Where that fails, compute its images one by one."""
        try:
            results = await self._compute([image.pixels for image in batch])
        except Exception as error:
            LOGGER.exception("the runtime failed on a batch of %d", len(batch))
            if len(batch) > 1:
                for image in batch:
                    await self._answer([image])
            elif not batch[0].captions.done():
                failed = refusals.failed()
                failed.__cause__ = error
                batch[0].captions.set_exception(failed)
            return
        for image, captions in zip(batch, results, strict=True):
            if not image.captions.done():
                image.captions.set_result(captions)

    async def _compute(self, pictures: list[np.ndarray]) -> list[Captions]:
        started = time.perf_counter()
        work = self._pool.submit(self._run, pictures)
        self._computing.add(work)
        work.add_done_callback(self._computing.discard)
        try:
            return await asyncio.wrap_future(work)
        finally:
            self.measurements.measure_stage("compute", time.perf_counter() - started)

    def _run(self, pictures: list[np.ndarray]) -> list[Captions]:
        """Fill up a batch with its last image, and caption it. Runs in a thread."""
        size = next(size for size in self._sizes if size >= len(pictures))
        filled = np.stack(pictures + pictures[-1:] * (size - len(pictures)))
        captions = self._runtime.caption(filled)
        if len(captions) != size:
            raise RuntimeError(f"expected captions of {size} images, found {len(captions)}")
        return captions[: len(pictures)]


def batch_sizes(runtime: Runtime, most: int) -> list[int]:
    """Return the sizes of batches that are computed, the smallest first.

    Args:
        runtime: Its sizes are the ones to choose from; the smallest one is always among them.
        most: The largest size.
    """
    sizes = sorted(runtime.batch_sizes)
    return [size for size in sizes if size <= most] or sizes[:1]
