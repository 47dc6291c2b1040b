"""The server's state: what it captions with, and whether it takes requests."""

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from serving.bundle.runtime import Runtime
from serving.web import refusals
from serving.web.batching import Batcher
from serving.web.captions import ImageCaptioner
from serving.web.limits import Limits


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """What the server tells of its model.

    Attributes:
        name: The name of the run.
        fingerprint: The bundle's fingerprint.
        n_best: Captions of each image at most.
        grid: Height and width of an attention.
        attends: Whether captions have an attention.
    """

    name: str
    fingerprint: str
    n_best: int
    grid: tuple[int, int]
    attends: bool


class Service:
    """Starts, captions, and stops when the last accepted request is answered.

    Args:
        model: What it tells of the model.
        decode: From the bytes of an image file to float32 [S, S, 3].
        limits: What requests may cost.
    """

    def __init__(self, model: ModelFacts, decode: Callable[[bytes], np.ndarray], limits: Limits):
        self.model, self.limits = model, limits
        self.batcher = Batcher(limits)
        self.captioner = ImageCaptioner(decode, self.batcher, limits)
        self.measurements = self.batcher.measurements
        self.runtime_name: str | None = None
        self._ready = self._draining = self._loading = False
        self._accepted = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def busy(self) -> bool:
        """Whether a thread loads or computes, which nothing can stop."""
        return self._loading or self.batcher.computing

    async def load(self, load: Callable[[], Runtime]) -> Runtime:
        """Return a runtime that is loaded in a thread, while the server answers.

        Args:
            load: Loads it; may take long.
        """
        self._loading = True
        loading = asyncio.get_running_loop().run_in_executor(ThreadPoolExecutor(1, "load"), load)
        runtime = await loading
        self._loading = False
        return runtime

    def start(self, runtime: Runtime) -> None:
        """Begin to compute, for the server itself only."""
        self.runtime_name = runtime.name
        self.batcher.start(runtime)

    def open(self) -> None:
        """Take requests from now on."""
        self._ready = True

    async def drain(self) -> None:
        """Refuse new requests, and return when the accepted ones are answered."""
        self._draining = True
        await self._idle.wait()

    def stop(self) -> None:
        """Stop all threads that can be stopped."""
        self.captioner.stop()
        self.batcher.stop()

    @contextlib.contextmanager
    def accept(self) -> Iterator[None]:
        """Take a request for captions while the block runs.

        Raises:
            RefusalError: The server is not ready, or the queue is full.
        """
        self.refuse_unless_ready()
        if self.batcher.full:  # Known before the body is read.
            raise refusals.queue_full(self.batcher.waiting, self.limits.queue)
        self._accepted += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._accepted -= 1
            if not self._accepted:
                self._idle.set()

    def refuse_unless_loaded(self) -> None:
        """Raise a RefusalError while the model is not loaded."""
        if self.runtime_name is None:
            raise refusals.not_ready()

    def refuse_unless_ready(self) -> None:
        """Raise a RefusalError while the server is starting or stopping."""
        if self._draining:
            raise refusals.draining()
        if not self._ready:
            raise refusals.not_ready()
