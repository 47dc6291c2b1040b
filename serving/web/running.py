"""The life of the server: it listens, starts, captions, and stops when it is told to."""

import asyncio
import contextlib
import errno
import resource
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI

from cli.errors import UserError
from serving.web import limits
from serving.web.connections import uvicorn_options
from serving.web.service import Service

_BACKLOG = 1024
# What the process opens beside its connections, TensorFlow included.
_OTHER_FILES = 250
_REMEDIES = {
    errno.EADDRINUSE: "another program listens there: stop it, or give another --port",
    errno.EACCES: "ports below 1024 are for root: give a --port of 1024 or more",
    errno.EADDRNOTAVAIL: "this machine has no such address: give one of its own as --host",
}


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens, so that two servers never share an address.

    Args:
        host: An address or a name.
        port: A TCP port; 0 for a free one.

    Raises:
        UserError: The address is in use, not allowed, or not of this machine.
    """
    place = f"--host={host} --port={port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(
            f"{place}: no address of that name ({why}); give an address or a name of this"
            " machine as --host, without http:// and without a port"
        ) from None
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        # Connections of a server that was killed must not keep its port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        remedy = _REMEDIES.get(error.errno or 0, "give another --host or --port")
        raise UserError(f"{place}: {error.strerror}; {remedy}") from None
    return listener


def allow_connections() -> None:
    """Let this process open as many files as its connections need, where the shell allows fewer."""
    needed = limits.MAX_CONNECTIONS + _OTHER_FILES
    with contextlib.suppress(OSError):  # A sandbox may forbid to ask, or to change it.
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < needed:
            most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def url_of(listener: socket.socket) -> str:
    """Return where a browser finds the server."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: it would end the process by the signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    app: FastAPI,
    service: Service,
    listener: socket.socket,
    start: Callable[[], Coroutine[Any, Any, None]],
    stop: asyncio.Event,
) -> None:
    """Answer requests until told to stop and the accepted ones are answered.

    Args:
        app: The application.
        service: What it captions with.
        listener: Listens already.
        start: Loads the model and opens the service, while the server answers that it is not ready.
        stop: Set when the server has to stop.

    Raises:
        UserError: As `start` raises it.
    """
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        **uvicorn_options(),
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    starting = asyncio.create_task(start())
    stopping = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting in done:
            starting.result()
            await stopping
        await service.drain()
    finally:
        for task in (starting, stopping):
            task.cancel()
        server.should_exit = True
        await serving
        service.stop()
