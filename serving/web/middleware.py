"""What happens to every request before and after its route.

From the outside in: `RequestLog`, `LocalHostOnly`, CORS, `TokenRequired`, `BodyLimit`,
`HeadAsGet`. They are plain ASGI, so a request is refused before its body is read.
"""

import asyncio
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.web import limits, logs, refusals
from serving.web.access import is_local
from serving.web.logs import LOGGER
from serving.web.measurements import Measurements
from serving.web.refusals import ClientGoneError, RefusalError

# The page runs its own files and shows the images that people drop on it. Nothing else.
_SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class RequestLog:
    """Logs and counts every request, and answers where the server itself fails.

    Args:
        app: What answers.
        measurements: Counts requests and rejections.
    """

    def __init__(self, app: ASGIApp, measurements: Measurements):
        self._app, self._measurements = app, measurements

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        entry = logs.open_entry(scope, Headers(scope=scope).get("x-request-id", ""))

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry.status = message["status"]
                MutableHeaders(scope=message).update({**_SECURITY, "X-Request-Id": entry.id})
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        except ClientGoneError:
            entry.reason = "client_gone"
        except Exception:
            LOGGER.exception("request %s failed", entry.id)
            if entry.status == 499:  # Nothing has been sent.
                await refusals.answer(refusals.failed(), scope, receive, send_marked)
        finally:
            self._measurements.count_request(entry.status)
            if entry.reason:
                self._measurements.count_rejection(entry.reason)
            logs.log_request(scope)


class LocalHostOnly:
    """Refuses requests for other hosts than this machine.

    A web site whose name resolves to 127.0.0.1 could else use the server through the browser of
    somebody who visits it.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            host = Headers(scope=scope).get("host", "")
            if not is_local(_without_port(host)):
                message = (
                    f"expected a request for this machine, found one for {host[:100]!r}; to serve"
                    " other names, start the server with --host=0.0.0.0 or an address of its own"
                )
                await refusals.answer(
                    RefusalError(400, "wrong_host", message), scope, receive, send
                )
                return
        await self._app(scope, receive, send)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


class TokenRequired:
    """Refuses requests without the token, before their body is read.

    Args:
        app: What answers.
        token: What must stand after `Bearer` in the header Authorization.
        paths: The paths that need it.
    """

    def __init__(self, app: ASGIApp, token: str, paths: tuple[str, ...]):
        self._app, self._token, self._paths = app, token.encode(), paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["path"] in self._paths and not self._has_token(scope):
            refusal = RefusalError(
                401,
                "token",
                "expected the server's token, in the header `Authorization: Bearer TOKEN`",
                headers={"WWW-Authenticate": "Bearer"},
            )
            await refusals.answer(refusal, scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _has_token(self, scope: Scope) -> bool:
        scheme, _, sent = Headers(scope=scope).get("authorization", "").partition(" ")
        same = secrets.compare_digest(sent.strip().encode("latin-1"), self._token)
        return scheme.lower() == "bearer" and same


class BodyLimit:
    """Counts a body while it arrives, and refuses the request when it is too much.

    A body whose Content-Length is too much is refused before it is read. The answer to a body that
    is not read to its end closes the connection; the rest is dropped for a moment before that, so
    that the client reads the answer instead of a reset.

    Args:
        app: What answers.
        most: Bytes of the largest body.
        measurements: Where the seconds of reading go.
    """

    def __init__(self, app: ASGIApp, most: int, measurements: Measurements):
        self._app, self._most, self._measurements = app, most, measurements
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, send, has_body(scope))
        try:
            if declared_length(scope) > self._most:
                await refusals.answer(self._too_large(), scope, receive, body.send)
            else:
                await self._app(scope, lambda: self._receive(body), body.send)
        finally:
            self._held -= body.bytes

    async def _receive(self, body: "_Body") -> Message:
        """Return the next message of the client.

        Raises:
            RefusalError: The body is too much, or takes too long.
        """
        if body.complete:
            return await body.receive()
        body.started = body.started or time.perf_counter()
        left = body.started + limits.BODY_SECONDS - time.perf_counter()
        try:
            async with asyncio.timeout(left):
                message = await body.receive()
        except TimeoutError:
            why = f"expected the whole body within {limits.BODY_SECONDS} seconds"
            raise RefusalError(408, "slow_body", why) from None
        arrived = len(message.get("body", b""))
        body.bytes += arrived
        self._held += arrived
        if body.bytes > self._most:
            raise self._too_large()
        if self._held > limits.HELD_BODIES * self._most:
            raise RefusalError(429, "busy", "too many bodies arrive at once; try again", retry=True)
        if body.complete and message["type"] == "http.request":
            seconds = time.perf_counter() - body.started
            self._measurements.measure_stage("read", seconds)
        return message

    def _too_large(self) -> RefusalError:
        message = f"expected a body of at most {self._most:,} bytes, found more"
        return RefusalError(413, "body_too_large", message)


class _Body:
    """The body of one request.

    Attributes:
        bytes: How many have arrived.
        complete: Whether it has arrived whole; true where there is none.
        started: When reading began, on the clock of `time.perf_counter`; 0 before.
    """

    def __init__(self, receive: Receive, send: Send, expected: bool):
        self._receive, self._send = receive, send
        self.bytes, self.complete, self.started = 0, not expected, 0.0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self.complete = True
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer; drop the rest of the body before the last one."""
        if self.complete:
            await self._send(message)
        elif message["type"] == "http.response.start":
            MutableHeaders(scope=message)["Connection"] = "close"
            await self._send(message)
        elif message.get("more_body", False):
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            await self._drop_the_rest()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drop_the_rest(self) -> None:
        try:
            async with asyncio.timeout(limits.LINGER_SECONDS):
                while not self.complete:
                    await self.receive()
        except TimeoutError:
            return


def has_body(scope: Scope) -> bool:
    """Return whether a request announces a body."""
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or declared_length(scope) > 0


def declared_length(scope: Scope) -> int:
    """Return the Content-Length of a request; 0 where it has none."""
    length = Headers(scope=scope).get("content-length", "")
    # More digits than fit are cut off: it is too large all the same.
    return int(length[:18]) if length.isascii() and length.isdigit() else 0


class HeadAsGet:
    """Answers HEAD as GET, which is what monitors ask with; the server leaves out the body.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)
