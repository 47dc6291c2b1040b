"""Connections of clients that send slowly, read slowly, or are too many."""

import asyncio
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.web import limits

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"Content-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
    b'{"error":{"code":"connections","message":"too many connections; try again"}}'
)


class BoundedConnection(H11Protocol):
    """uvicorn's connection, with an end to the time that the head of a request may take."""

    # Private API: uvicorn 0.54.0.
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection, or refuse it when there are too many."""
        super().connection_made(transport)
        client: socket.socket | None = transport.get_extra_info("socket")
        if client is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            milliseconds = limits.DELIVERY_SECONDS * 1000
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        if len(self.connections) > limits.MAX_CONNECTIONS:
            transport.write(_FULL)
            transport.close()
            return
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        try:
            super().data_received(data)
        except h11.LocalProtocolError:  # What came is no HTTP, while the answer is being sent.
            self.transport.abort()
        if self._at_work():
            self._forget_head()
        elif self._head_timer is None and not self.transport.is_closing():
            self._expect_head()  # The head of the next request has begun.

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the connection."""
        self._forget_head()
        super().connection_lost(exc)

    def _at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(limits.HEAD_SECONDS, self._give_up)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if not self._at_work():
            self.transport.abort()


def uvicorn_options() -> dict[str, Any]:
    """Return the options of uvicorn that bound what a connection may cost."""
    return {
        "http": BoundedConnection,
        "ws": "none",
        "h11_max_incomplete_event_size": limits.MAX_HEAD_BYTES,
        "timeout_keep_alive": limits.IDLE_SECONDS,
        "timeout_graceful_shutdown": limits.LINGER_SECONDS + 1,
    }
