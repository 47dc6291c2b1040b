"""Serve captions over HTTP: `python -m serving.server --bundle=BUNDLE`.

A web page is at /, and `POST /v1/captions` takes images. /openapi.json describes all of it. With
the environment variable CAPTIONER_TOKEN, requests for captions must carry that token. SIGTERM and
Ctrl-C stop the server once it has answered what it has accepted; a second one stops it at once.
"""

import asyncio
import contextlib
import dataclasses
import functools
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import cli.tensorflow_log  # noqa: F401  before what writes to descriptor 2

# isort: split
from absl.flags import FlagValues
from fastapi import FastAPI

from cli import flags
from cli.command import run
from cli.errors import UsageError
from cli.flags import flag
from pixels import limits as pixel_limits
from pixels import square
from serving.bundle.layout import Bundle
from serving.bundle.runtime import RUNTIMES, Runtime, open_runtime
from serving.web import access, logs, running, startup
from serving.web.access import Access
from serving.web.app import create_app
from serving.web.limits import Limits
from serving.web.service import ModelFacts, Service

_TOKEN = "CAPTIONER_TOKEN"
_MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class ServerOptions:
    """What is served, where, and within which limits. Every field is a flag."""

    bundle: str = flag("", "Folder of the bundle that captions, as `serving.export` writes it.")
    host: str = flag(
        "127.0.0.1",
        "Address or name to listen at. Only this machine reaches the default; 0.0.0.0 stands for"
        " all IPv4 addresses of this machine, :: for those of IPv6, too.",
        literal=True,
    )
    port: int = flag(
        8080, "TCP port to listen at, 0 to 65535; 0 takes a free one.", at_least=0, at_most=65535
    )
    runtime: str = flag(
        "auto",
        "What computes: tensorflow, litert, or auto for TensorFlow where it is installed and LiteRT"
        " elsewhere.",
        choices=RUNTIMES,
    )
    max_batch: int = flag(
        16, "Images that are computed together at most, 1 to 256.", at_least=1, at_most=256
    )
    max_wait_ms: int = flag(
        0,
        "Milliseconds that a batch waits for more images, 0 to 1000. With 0 a batch takes what has"
        " arrived while the one before was computed.",
        at_least=0,
        at_most=1000,
    )
    max_queue: int = flag(
        128,
        "Images that wait at most, 1 to 10000. Requests beyond that get status 429.",
        at_least=1,
        at_most=10000,
    )
    deadline_s: float = flag(
        30.0,
        "Seconds from a complete request to its answer, 0.1 to 3600. Then it gets status 504.",
        at_least=0.1,
        at_most=3600,
    )
    max_images: int = flag(16, "Images of a request at most, 1 to 1000.", at_least=1, at_most=1000)
    max_request_mb: int = flag(
        64, "MiB of the body of a request at most, 1 to 1024.", at_least=1, at_most=1024
    )
    allow_origin: str = flag(
        "",
        "Web sites whose pages may use this server, separated by commas, as"
        " https://example.org. Without it only the page of this server may.",
        literal=True,
    )


def define_flags(values: FlagValues) -> None:
    """Declare the flags of this command.

    Args:
        values: Where to declare them.
    """
    flags.define(ServerOptions, values)


def main(values: FlagValues, _: list[str]) -> int:
    """Serve until a signal stops the server.

    Args:
        values: Parsed flags.

    Returns:
        The exit code, 0 when all accepted requests were answered.
    """
    options = flags.read(ServerOptions, values)
    if not options.bundle:
        raise UsageError("--bundle is missing: the folder that serving.export wrote")
    if options.max_images > options.max_queue:
        raise UsageError(
            f"--max_images={options.max_images} is more than --max_queue={options.max_queue}:"
            " a request of so many images could never be accepted"
        )
    token = access.parse_token(_TOKEN, os.environ.get(_TOKEN))
    origins = access.parse_origins("allow_origin", options.allow_origin)
    allowed = Access(token, origins, access.is_local(options.host))
    running.allow_connections()
    with running.listen(options.host, options.port) as listener:
        bundle = Bundle.read(options.bundle)
        logs.configure()
        service = _service(options, bundle)
        app = create_app(service, allowed)
        url = running.url_of(listener)

        async def start() -> None:
            print(f"loading {options.bundle}; {url} says when it is ready", file=sys.stderr)
            await _start(options, bundle, service)
            _report(url, bundle, service, allowed)

        asyncio.run(_serve_until_signal(app, service, listener, start))
    if service.busy:
        # A thread still loads or computes, for nobody, and the end of the process would wait.
        sys.stdout.flush()
        os._exit(0)
    return 0


def _service(options: ServerOptions, bundle: Bundle) -> Service:
    facts = ModelFacts(bundle.name, bundle.fingerprint, bundle.n_best, bundle.grid, bundle.attends)
    request_bytes = options.max_request_mb * _MIB
    limits = Limits(
        image_bytes=min(pixel_limits.MAX_IMAGE_BYTES, request_bytes),
        request_bytes=request_bytes,
        images=options.max_images,
        queue=options.max_queue,
        batch=options.max_batch,
        wait_s=options.max_wait_ms / 1000,
        deadline_s=options.deadline_s,
    )
    return Service(facts, functools.partial(square.square, size=bundle.input_size), limits)


async def _serve_until_signal(
    app: FastAPI,
    service: Service,
    listener: socket.socket,
    start: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    stop = asyncio.Event()

    def handle(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()
        with contextlib.suppress(OSError):  # Nobody reads stderr any more. Stop all the same.
            print("stopping: accepted requests are answered first", file=sys.stderr, flush=True)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, handle, number)
    await running.serve(app, service, listener, start, stop)


async def _start(options: ServerOptions, bundle: Bundle, service: Service) -> None:
    """Load the model in a thread, warm it, check it, and take requests."""

    def load() -> Runtime:
        runtime = open_runtime(bundle, options.runtime)
        startup.warm(runtime, bundle.input_size, options.max_batch)
        return runtime

    runtime = await service.load(load)
    service.start(runtime)
    await startup.check_golden(service, bundle, runtime.name)
    service.open()


def _report(url: str, bundle: Bundle, service: Service, allowed: Access) -> None:
    limits = service.limits
    print(f"{url} captions with {bundle.name}")
    print(f"model: fingerprint {bundle.fingerprint[:12]}, runtime {service.runtime_name}")
    print(
        f"limits: {limits.image_bytes >> 20} MiB an image, {limits.images} images and"
        f" {limits.request_bytes >> 20} MiB a request, {limits.queue} images in the queue,"
        f" batches of {service.batcher.largest_batch}, {limits.deadline_s:g} seconds"
    )
    whom = "this machine only" if allowed.local_only else "every machine that reaches this address"
    token = f"with the token of {_TOKEN}" if allowed.token else "without a token"
    sites = f", and pages of {', '.join(allowed.origins)}" if allowed.origins else ""
    print(f"access: {whom}{sites}, {token}", flush=True)
    if not (allowed.local_only or allowed.token):
        print(
            f"warning: whoever reaches {url} can use it; set {_TOKEN} to ask for a token",
            file=sys.stderr,
        )


if __name__ == "__main__":
    run(main, define_flags)
