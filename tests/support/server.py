"""A server of captions without a model: images are numbers, and their captions tell them."""

import asyncio
import contextlib
import dataclasses
import functools
import io
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI
from PIL import Image

from pixels.formats import BadImageError
from pixels.square import square
from records.rejections import RejectionReason
from serving.bundle.runtime import Caption
from serving.web import running
from serving.web.access import Access
from serving.web.app import create_app
from serving.web.limits import Limits
from serving.web.service import ModelFacts, Service

SIZE = 4
FACTS = ModelFacts("fake", "f" * 64, 2, (2, 3), True)
LIMITS = Limits(
    image_bytes=1 << 20,
    request_bytes=1 << 20,
    images=4,
    queue=8,
    batch=4,
    wait_s=0.0,
    deadline_s=60.0,
)
CAPTIONS = "/v1/captions"
# A number that the runtime fails on.
POISON = 66
# Seconds after which a test fails rather than waits.
_PATIENCE = 30


class FakeRuntime:
    """Captions a square by the number that it is filled with.

    Attributes:
        batches: The numbers of each batch, with those that fill it up.
        hold: While it is clear, batches wait for it.
    """

    name = "fake"

    def __init__(self, batch_sizes: tuple[int, ...] = (1, 2, 4), parallel: int = 1):
        self.batch_sizes, self.parallel = batch_sizes, parallel
        self.batches: list[list[int]] = []
        self.hold = threading.Event()
        self.hold.set()

    @property
    def computed(self) -> list[int]:
        """The numbers of all batches."""
        return [number for batch in self.batches for number in batch]

    def caption(self, pixels: np.ndarray) -> list[list[Caption]]:
        numbers = [round(float(number)) for number in pixels[:, 0, 0, 0]]
        self.batches.append(numbers)
        assert self.hold.wait(60)
        if POISON in numbers:
            raise RuntimeError("the runtime cannot compute this")
        return [[_caption(number, 0), _caption(number, 1)] for number in numbers]


def _caption(number: int, rank: int) -> Caption:
    words = (str(number), "dogs" if rank == 0 else "cats")
    attention = np.full((2, *FACTS.grid), 1 / 6, np.float32)
    return Caption(" ".join(words), words, -1.0 - rank, attention)


def image(number: int) -> bytes:
    """Return the bytes of an image of a number."""
    return b"image %d" % number


def decode(data: bytes) -> np.ndarray:
    """Return the square of an image of a number."""
    if not data:
        raise BadImageError(RejectionReason.EMPTY_FILE, "expected an image, found an empty file")
    if data.startswith(b"damaged"):
        raise BadImageError(RejectionReason.CORRUPT, "expected an image, found damaged data")
    if data.startswith(b"large"):
        raise BadImageError(RejectionReason.TOO_LARGE, "expected a small image, found a large one")
    if data.startswith(b"surprise"):
        raise ZeroDivisionError("a bug of a decoder")
    if not data.startswith(b"image "):
        raise BadImageError(RejectionReason.UNKNOWN_FORMAT, "expected an image, found text")
    return np.full((SIZE, SIZE, 3), int(data[6:]), np.float32)


Decoder = Callable[[bytes], np.ndarray]
# Decodes real images: those of one colour get the caption of the number that is its red.
decode_real: Decoder = functools.partial(square, size=SIZE)


def colour(number: int, kind: str = "PNG") -> bytes:
    """Return the bytes of a real image whose caption is that of a number."""
    file = io.BytesIO()
    Image.new("RGB", (9, 7), (number, number, number)).save(file, kind)
    return file.getvalue()


async def until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(_PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


class FakeServer:
    """A server in the test's own event loop.

    Attributes:
        app: The application.
        service: What it captions with.
        runtime: Computes.
        http: An HTTP client of it.
    """

    def __init__(self, app: FastAPI, service: Service, runtime: FakeRuntime):
        self.app, self.service, self.runtime = app, service, runtime
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://localhost", trust_env=False
        )

    async def post(self, content: bytes, **options: Any) -> httpx.Response:
        """Post an image as a raw body."""
        headers = {"Content-Type": "application/octet-stream"} | options.pop("headers", {})
        async with asyncio.timeout(_PATIENCE):
            return await self.http.post(CAPTIONS, content=content, headers=headers, **options)

    async def post_form(self, *images: bytes, **options: Any) -> httpx.Response:
        """Post images as the files of a form, named 0.jpg, 1.jpg, ..."""
        files = [("image", (f"{i}.jpg", content)) for i, content in enumerate(images)]
        async with asyncio.timeout(_PATIENCE):
            return await self.http.post(CAPTIONS, files=files, **options)

    def post_later(self, *images: bytes) -> "asyncio.Task[httpx.Response]":
        """Begin to post one image raw, or several as a form."""
        post = self.post(images[0]) if len(images) == 1 else self.post_form(*images)
        return asyncio.create_task(post)

    async def metric(self, name: str) -> float:
        """Return a measurement by its name and labels, 0 where there is none."""
        for line in self.service.measurements.to_text().decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0


def raw_scope(**headers: str) -> dict:
    """Return the ASGI scope of a request for captions."""
    named = {"host": "localhost", "content-type": "image/jpeg", "transfer-encoding": "chunked"}
    named |= {name.replace("_", "-"): text for name, text in headers.items()}
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/captions",
        "raw_path": b"/v1/captions",
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), text.encode()) for name, text in named.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


def fake_service(runtime: FakeRuntime, decoder: Decoder = decode, **limits: Any) -> Service:
    """Return a service that has not started."""
    return Service(FACTS, decoder, dataclasses.replace(LIMITS, **limits))


@contextlib.asynccontextmanager
async def fake_server(
    runtime: FakeRuntime | None = None, access: Access | None = None, **limits: Any
) -> AsyncIterator[FakeServer]:
    """Run a server in this event loop, without a socket.

    Args:
        runtime: Computes captions.
        access: Who may use the server; this machine without a token by default.
        limits: Fields of `Limits` that differ from `LIMITS`; `decoder`, if it is not `decode`.
    """
    runtime = runtime or FakeRuntime()
    service = fake_service(runtime, **limits)
    service.start(runtime)
    service.open()
    server = FakeServer(create_app(service, access or Access()), service, runtime)
    try:
        async with server.http:
            yield server
    finally:
        runtime.hold.set()
        service.stop()


class ThreadedServer:
    """A server with a socket, in a thread.

    Attributes:
        url: Where it listens.
        address: The same as host and port.
        service: What it captions with.
        runtime: Computes.
    """

    def __init__(self, runtime: FakeRuntime, access: Access, limits: dict[str, Any]):
        self.runtime = runtime
        self._listener = running.listen("127.0.0.1", 0)
        self.address: tuple[str, int] = self._listener.getsockname()
        self.url = running.url_of(self._listener).rstrip("/")
        self._access, self._limits = access, limits
        self._started = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.service = fake_service(self.runtime, **self._limits)

        async def start() -> None:
            self.service.start(self.runtime)
            self.service.open()
            self._started.set()

        app = create_app(self.service, self._access)
        await running.serve(app, self.service, self._listener, start, self._stop)

    def start(self) -> None:
        """Start and wait until it is ready."""
        self.thread.start()
        assert self._started.wait(30)

    def stop(self) -> None:
        """Tell it to stop, as a signal does."""
        self._loop.call_soon_threadsafe(self._stop.set)

    def connect(self) -> socket.socket:
        """Return a connection to it, whose reads end after half a minute."""
        return socket.create_connection(self.address, timeout=30)


@contextlib.contextmanager
def threaded_server(
    runtime: FakeRuntime | None = None, access: Access | None = None, **limits: Any
) -> Iterator[ThreadedServer]:
    """Run a server with a socket on a free port.

    Args:
        runtime: Computes captions.
        access: Who may use the server; this machine without a token by default.
        limits: Fields of `Limits` that differ from `LIMITS`; `decoder`, if it is not `decode`.
    """
    server = ThreadedServer(runtime or FakeRuntime(), access or Access(), limits)
    server.start()
    try:
        yield server
    finally:
        server.runtime.hold.set()
        with contextlib.suppress(RuntimeError):  # It has stopped.
            server.stop()
        server.thread.join(30)
        assert not server.thread.is_alive()


def wait_until(condition: Callable[[], Any]) -> None:
    """Wait in a thread of the test until a condition holds."""
    end = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < end, "the condition never held"
        time.sleep(0.005)


def read_until(client: socket.socket, end: bytes) -> bytes:
    """Return what a server sends up to an end that must come, such as that of its answer."""
    data = b""
    while not data.endswith(end):
        piece = client.recv(65536)
        assert piece, data
        data += piece
    return data
